package router

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

// writeLoop writes what comes into the outbox until that is closed and empty, ctx ends, or send fails. A reader that takes
// nothing for longer than patience fails the stream, so that its messages can go elsewhere. wake is called after
// each batch with deliveries: there is room again.
func writeLoop(ctx context.Context, out *outbox, patience time.Duration, send func([]*transportpb.RouterFrame) error, wake func(), fail func(error)) {
	stuck := time.AfterFunc(patience, func() {
		fail(status.Errorf(codes.DeadlineExceeded, "nothing was read from the stream for %v", patience))
	})
	defer stuck.Stop()
	stuck.Stop()
	for {
		batch, ok := out.next(ctx)
		if !ok {
			return
		}
		deliveries := slices.ContainsFunc(batch, func(f *transportpb.RouterFrame) bool { return f.GetDelivery() != nil })
		stuck.Reset(patience)
		err := send(batch)
		stuck.Stop()
		if err != nil {
			fail(err)
			return
		}
		if deliveries {
			wake()
		}
	}
}
