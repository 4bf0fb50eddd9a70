"""A gRPC client that knows the units from reflection only, as any program in another language would."""
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def _field(number, payload):
    """One length-delimited field of a protobuf message."""
    size, prefix = len(payload), bytes([number << 3 | 2])
    while size >= 0x80:
        prefix += bytes([size & 0x7F | 0x80])
        size >>= 7
    return prefix + bytes([size]) + payload


def _fields(data):
    """The length-delimited fields of a message, as (number, bytes); others are skipped."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 2:
            size = varint()
            yield tag >> 3, data[at:at + size]
            at += size
        else:
            varint()


class GrpcClient:
    def __init__(self, port):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", 64 << 20)])
        self.pool = descriptor_pool.DescriptorPool()
        self.known = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def _reflect(self, request):
        call = self.channel.stream_stream(REFLECTION, request_serializer=lambda raw: raw, response_deserializer=lambda raw: raw)
        return next(call(iter([request]), timeout=10))

    def services(self):
        for number, payload in _fields(self._reflect(_field(7, b""))):
            if number == 6:
                return [name.decode() for _, service in _fields(payload) for _, name in _fields(service)]
        raise AssertionError("no list of services")

    def service(self, name):
        """Descriptor of a service, with everything that it uses."""
        if name not in self.known:
            files = {}
            for number, payload in _fields(self._reflect(_field(4, name.encode()))):
                assert number != 7, f"{name} cannot be resolved: {payload}"
                if number == 4:
                    for _, raw in _fields(payload):
                        proto = descriptor_pb2.FileDescriptorProto.FromString(raw)
                        files[proto.name] = proto

            def add(proto):
                for dependency in proto.dependency:
                    if dependency in files:
                        add(files.pop(dependency))
                self.pool.Add(proto)

            while files:
                add(files.pop(next(iter(files))))
            self.known.add(name)
        return self.pool.FindServiceByName(name)

    def _messages(self, rpc):
        service, method = rpc.rsplit(".", 1)
        descriptor = self.service(service).FindMethodByName(method)
        factory = message_factory.MessageFactory(self.pool)
        return f"/{service}/{method}", factory.GetPrototype(descriptor.input_type), factory.GetPrototype(descriptor.output_type)

    @staticmethod
    def _metadata(key):
        return [("authorization", f"Bearer {key}")] if key else []

    def call(self, rpc, key=None, timeout=30, metadata=(), **fields):
        path, request, response = self._messages(rpc)
        method = self.channel.unary_unary(path, request_serializer=request.SerializeToString,
                                          response_deserializer=response.FromString)
        return method(json_format.ParseDict(fields, request()), timeout=timeout, metadata=[*self._metadata(key), *metadata])

    def stream(self, rpc, key=None, timeout=30, **fields):
        path, request, response = self._messages(rpc)
        method = self.channel.unary_stream(path, request_serializer=request.SerializeToString,
                                           response_deserializer=response.FromString)
        return method(json_format.ParseDict(fields, request()), timeout=timeout, metadata=self._metadata(key))

    def call_raw(self, rpc, data, key=None):
        """Sends bytes and returns the name of the status code."""
        service, method = rpc.rsplit(".", 1)
        call = self.channel.unary_unary(f"/{service}/{method}", request_serializer=lambda raw: raw,
                                        response_deserializer=lambda raw: raw)
        try:
            call(data, timeout=10, metadata=self._metadata(key))
            return "OK"
        except grpc.RpcError as error:
            return error.code().name
