// A Go program with stubs that protoc made from the .proto files, as any user of the public port would write it.
// It prints one JSON object: what it saw, which test_grpc_go.py judges.
//
// usage: scenario ADDRESS MODEL ADMIN_KEY [CA_FILE]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	devicev1 "aima/clients/aima/device/v1"
	eventv1 "aima/clients/aima/event/v1"
	inferencev1 "aima/clients/aima/inference/v1"
	modelv1 "aima/clients/aima/model/v1"
	resourcev1 "aima/clients/aima/resource/v1"
)

type seen map[string]any

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// What a failed call says of itself.
func failure(err error) seen {
	failed := status.Convert(err)
	told := seen{"code": failed.Code().String(), "message": failed.Message()}
	for _, detail := range failed.Details() {
		switch known := detail.(type) {
		case *errdetails.ErrorInfo:
			told["reason"], told["domain"], told["metadata"] = known.Reason, known.Domain, known.Metadata
		case *errdetails.BadRequest:
			fields := []string{}
			for _, violation := range known.FieldViolations {
				fields = append(fields, violation.Field)
			}
			told["fields"] = fields
		}
	}
	return told
}

func main() {
	address, model, adminKey := os.Args[1], os.Args[2], os.Args[3]
	secure := insecure.NewCredentials()
	if len(os.Args) > 4 {
		fromFile, err := credentials.NewClientTLSFromFile(os.Args[4], "")
		must(err)
		secure = fromFile
	}
	connection, err := grpc.Dial(address, grpc.WithTransportCredentials(secure))
	must(err)
	defer connection.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	told := seen{}

	health, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{Service: "aima.model.v1.ModelService"})
	must(err)
	told["health"] = health.Status.String()

	asAdmin := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+adminKey)
	device, err := devicev1.NewDeviceServiceClient(connection).Info(asAdmin, &devicev1.InfoRequest{})
	must(err)
	told["memory"] = device.Memory.Total

	_, err = devicev1.NewDeviceServiceClient(connection).SetPowerLimit(asAdmin,
		&devicev1.SetPowerLimitRequest{DeviceId: "no-such-device", LimitWatts: 100})
	told["not_found"] = failure(err)
	wrongKey := metadata.AppendToOutgoingContext(ctx, "x-api-key", "aima_nobody_"+strings.Repeat("0", 64))
	_, err = devicev1.NewDeviceServiceClient(connection).Info(wrongKey, &devicev1.InfoRequest{})
	told["wrong_key"] = failure(err)
	_, err = resourcev1.NewResourceServiceClient(connection).Allocate(asAdmin, &resourcev1.AllocateRequest{Name: "x", MemoryBytes: -1})
	told["wrong_fields"] = failure(err)

	if model != "" {
		askModel(asAdmin, connection, model, told)
	}
	must(json.NewEncoder(os.Stdout).Encode(told))
}

// Calls that need a model: streams, their end by either side, and deadlines.
func askModel(ctx context.Context, connection *grpc.ClientConn, model string, told seen) {
	found, err := modelv1.NewModelServiceClient(connection).Get(ctx, &modelv1.GetRequest{ModelId: model})
	must(err)
	told["model"] = seen{"format": found.Format.String(), "status": found.Status.String()}

	inference := inferencev1.NewInferenceServiceClient(connection)
	zero, few := float64(0), int64(16)
	question := &inferencev1.ChatRequest{Model: model, Message: "What is the capital of France? One sentence.", Temperature: &zero, MaxTokens: &few}
	whole, err := inference.Chat(ctx, question)
	must(err)
	stream, err := inference.ChatStream(ctx, question)
	must(err)
	pieces, text := 0, ""
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		pieces++
		text += chunk.Content
	}
	told["chat"] = seen{"whole": whole.Content, "streamed": text, "pieces": pieces, "tokens": whole.Usage.CompletionTokens}

	many, one := int64(100000), int32(1)
	// The model may not decide to stop early.
	goOn, err := structpb.NewStruct(map[string]any{"ignore_eos": true})
	must(err)
	endless := &inferencev1.ChatRequest{Model: model, Message: "Count to one thousand.", MaxTokens: &many, EngineOptions: goOn}
	leaving, leave := context.WithCancel(ctx)
	running, err := inference.ChatStream(leaving, endless)
	must(err)
	_, err = running.Recv()
	must(err)
	events := eventv1.NewEventServiceClient(connection)
	latest, err := events.Query(ctx, &eventv1.QueryRequest{Limit: &one})
	must(err)
	leave()
	for err == nil {
		_, err = running.Recv()
	}
	told["left"] = failure(err)

	// The end of the abandoned request, as the event log tells it: a stream that this side ends.
	watching, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	told["ended"] = firstEvent(watching, events, latest.Latest, "inference.request_failed")

	latest, err = events.Query(ctx, &eventv1.QueryRequest{Limit: &one})
	must(err)
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err = inference.Chat(short, endless)
	told["late"] = failure(err)
	told["late_ended"] = firstEvent(watching, events, latest.Latest, "inference.request_failed")
}

func firstEvent(ctx context.Context, events eventv1.EventServiceClient, after int64, kind string) string {
	stream, err := events.Subscribe(ctx, &eventv1.SubscribeRequest{After: &after})
	must(err)
	for {
		batch, err := stream.Recv()
		if err != nil {
			return failure(err)["code"].(string)
		}
		for _, event := range batch.Events {
			if event.Type == kind {
				return event.Type
			}
		}
	}
}
