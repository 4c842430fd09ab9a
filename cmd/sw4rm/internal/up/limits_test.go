package up

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// TestLimitsReachTheRouter sends a message to each of two agents, and two to the second, under one limit at a time.
func TestLimitsReachTheRouter(t *testing.T) {
	const noReserve = -1
	for name, test := range map[string]struct {
		minFree int64
		limits  queue.Limits
		// after is how many messages are taken, refused the limit that the others meet.
		refused string
		after   int
	}{
		"none":        {noReserve, queue.Limits{}, "", 3},
		"min free":    {math.MaxInt64, queue.Limits{}, "min_free_disk", 0},
		"max waiting": {noReserve, queue.Limits{MaxWaiting: 1}, "max_waiting", 1},
		"max work":    {noReserve, queue.Limits{MaxWork: 1}, "max_work", 2},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			out, in := io.Pipe()
			done := make(chan error, 1)
			go func() {
				done <- Run(ctx, Config{
					Router: "localhost:0", Registry: "localhost:0", Data: t.TempDir() + "/data", MinFree: test.minFree, Limits: test.limits,
					Out: in, Logger: slog.New(slog.DiscardHandler),
				})
			}()
			lines := bufio.NewScanner(out)
			require.True(t, lines.Scan())
			addr := strings.TrimPrefix(lines.Text(), "router listening on ")
			require.True(t, lines.Scan())
			conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			client := routerpb.NewRouterServiceClient(conn)
			for n, to := range []string{"agent:a", "agent:b", "agent:b"} {
				res, err := client.SendMessage(metadata.AppendToOutgoingContext(ctx, "sw4rm-to", to), &routerpb.SendMessageRequest{Msg: &commonpb.Envelope{
					MessageId: envelope.NewID(), ProducerId: "client", CorrelationId: envelope.NewID(), SequenceNumber: uint64(n + 1),
					MessageType: commonpb.MessageType_DATA, ContentType: "application/json", ContentLength: 3, Payload: []byte(`"x"`),
				}})
				require.NoError(t, err)
				require.Equal(t, n < test.after, res.GetAccepted(), res.GetReason())
				if n >= test.after {
					require.Contains(t, res.GetReason(), "buffer_full: "+test.refused+":")
				}
			}
			require.NoError(t, conn.Close())
			cancel()
			require.NoError(t, <-done)
		})
	}
}
