#include "libs/runtime/reflection.h"

#include <google/protobuf/descriptor.pb.h>

#include <deque>
#include <set>
#include <utility>

#include "grpc/reflection/v1/reflection.pb.h"

namespace aima::runtime {
namespace {

namespace v1 = grpc::reflection::v1;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;

class ReflectionCall : public rpc::Receiver {
 public:
  ReflectionCall(std::shared_ptr<rpc::Stream> stream, const DescriptorPool& pool, std::vector<std::string> services)
      : stream_(std::move(stream)), pool_(pool), services_(std::move(services)) {}

  // Answers are larger than requests: they are made when there is room for them.
  void OnMessage(absl::string_view bytes) override {
    requests_.emplace_back(bytes);
    AnswerAll();
  }

  void OnWritable() override { AnswerAll(); }

  void OnHalfClose() override {
    half_closed_ = true;
    AnswerAll();
  }

  void OnEnd(const rpc::Ending&) override {}

 private:
  void AnswerAll() {
    while (!requests_.empty() && stream_->has_room()) {
      v1::ServerReflectionRequest request;
      if (!request.ParseFromString(requests_.front())) {
        return stream_->Finish(absl::InvalidArgumentError("the request cannot be parsed"));
      }
      requests_.pop_front();
      v1::ServerReflectionResponse response;
      response.set_valid_host(request.host());
      *response.mutable_original_request() = request;
      Answer(request, response);
      stream_->Send(response);
    }
    if (requests_.empty() && half_closed_) return stream_->Finish(absl::OkStatus());
    stream_->Pause(!requests_.empty());
  }

  void Answer(const v1::ServerReflectionRequest& request, v1::ServerReflectionResponse& response) {
    switch (request.message_request_case()) {
      case v1::ServerReflectionRequest::kListServices:
        for (const std::string& name : services_) response.mutable_list_services_response()->add_service()->set_name(name);
        return;
      case v1::ServerReflectionRequest::kFileByFilename:
        return AddFile(pool_.FindFileByName(request.file_by_filename()), request.file_by_filename(), response);
      case v1::ServerReflectionRequest::kFileContainingSymbol:
        return AddFile(pool_.FindFileContainingSymbol(request.file_containing_symbol()),
                       request.file_containing_symbol(), response);
      case v1::ServerReflectionRequest::kFileContainingExtension: {
        const auto& wanted = request.file_containing_extension();
        const auto* type = pool_.FindMessageTypeByName(wanted.containing_type());
        const auto* extension = type ? pool_.FindExtensionByNumber(type, wanted.extension_number()) : nullptr;
        return AddFile(extension ? extension->file() : nullptr, wanted.containing_type(), response);
      }
      case v1::ServerReflectionRequest::kAllExtensionNumbersOfType: {
        const std::string& name = request.all_extension_numbers_of_type();
        const auto* type = pool_.FindMessageTypeByName(name);
        if (!type) return NotFound(name, response);
        std::vector<const google::protobuf::FieldDescriptor*> extensions;
        pool_.FindAllExtensions(type, &extensions);
        auto& numbers = *response.mutable_all_extension_numbers_response();
        numbers.set_base_type_name(name);
        for (const auto* extension : extensions) numbers.add_extension_number(extension->number());
        return;
      }
      default:
        response.mutable_error_response()->set_error_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
        response.mutable_error_response()->set_error_message("nothing was asked");
    }
  }

  // The file and everything that it imports, each once.
  void AddFile(const FileDescriptor* file, const std::string& name, v1::ServerReflectionResponse& response) {
    if (!file) return NotFound(name, response);
    std::set<const FileDescriptor*> seen;
    std::vector<const FileDescriptor*> pending = {file};
    while (!pending.empty()) {
      const FileDescriptor* next = pending.back();
      pending.pop_back();
      if (!seen.insert(next).second) continue;
      google::protobuf::FileDescriptorProto proto;
      next->CopyTo(&proto);
      proto.SerializeToString(response.mutable_file_descriptor_response()->add_file_descriptor_proto());
      for (int i = 0; i < next->dependency_count(); ++i) pending.push_back(next->dependency(i));
    }
  }

  static void NotFound(const std::string& name, v1::ServerReflectionResponse& response) {
    response.mutable_error_response()->set_error_code(static_cast<int>(absl::StatusCode::kNotFound));
    response.mutable_error_response()->set_error_message(name + " is not known");
  }

  const std::shared_ptr<rpc::Stream> stream_;
  const DescriptorPool& pool_;
  const std::vector<std::string> services_;
  std::deque<std::string> requests_;  // not answered yet
  bool half_closed_ = false;
};

}  // namespace

bool IsReflection(std::string_view path) {
  return path == "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" ||
         path == "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
}

std::shared_ptr<rpc::Receiver> NewReflectionCall(std::shared_ptr<rpc::Stream> stream, const DescriptorPool& pool,
                                                 std::vector<std::string> services) {
  return std::make_shared<ReflectionCall>(std::move(stream), pool, std::move(services));
}

}  // namespace aima::runtime
