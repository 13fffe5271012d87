// A function on AWS's Go library, as its documentation writes one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do string `json:"do"`
	N  int    `json:"n"`
}

type answer struct {
	Twice     int               `json:"twice"`
	RequestID string            `json:"requestId"`
	ARN       string            `json:"arn"`
	Function  string            `json:"function"`
	Custom    map[string]string `json:"custom"`
	LeftMs    int64             `json:"leftMs"`
}

type noGood struct{ reason string }

func (e noGood) Error() string { return e.reason }

// The answer in pieces; it fails in the middle if the event says so.
func stream(e event) io.Reader {
	reader, writer := io.Pipe()
	go func() {
		fmt.Fprint(writer, "one")
		time.Sleep(300 * time.Millisecond)
		if e.N < 0 {
			writer.CloseWithError(noGood{"in the middle"})
			return
		}
		fmt.Fprint(writer, "two")
		writer.Close()
	}()
	return reader
}

func handle(ctx context.Context, e event) (any, error) {
	switch e.Do {
	case "stream":
		return stream(e), nil
	case "fail":
		return answer{}, noGood{"no good"}
	case "plain":
		return answer{}, errors.New("plainly no good")
	case "panic":
		panic("panicked")
	}
	fmt.Println("handling", e.N)
	called, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return answer{
		Twice:     2 * e.N,
		RequestID: called.AwsRequestID,
		ARN:       called.InvokedFunctionArn,
		Function:  lambdacontext.FunctionName,
		Custom:    called.ClientContext.Custom,
		LeftMs:    time.Until(deadline).Milliseconds(),
	}, nil
}

func main() { lambda.Start(handle) }
