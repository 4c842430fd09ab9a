package e2e

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/router"
)

// unlike returns text number n, in which nothing repeats, so that it stands in a table as it is.
func unlike(n uint64) string {
	random := rand.NewChaCha8([32]byte{byte(n)})
	half := make([]byte, 200)
	_, _ = random.Read(half) // never fails
	return hex.EncodeToString(half)
}

// flipStored changes a bit of each table below dir that holds a part of text, and returns the last one.
func flipStored(t *testing.T, dir, text string) string {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	found := ""
	for _, table := range tables {
		content, err := os.ReadFile(table)
		require.NoError(t, err)
		at := bytes.Index(content, []byte(text[100:116]))
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(table, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{content[at] ^ 1}, int64(at))
		require.NoError(t, errors.Join(err, f.Close()))
		found = table
	}
	require.NotEmpty(t, found, "no table has it")
	return found
}

// TestDamageMetByTheServices damages an envelope that waits, after the services have opened their directory.
func TestDamageMetByTheServices(t *testing.T) {
	s := startServices(t, time.Second)
	conn, err := grpc.NewClient(s.router, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	ctx := metadata.AppendToOutgoingContext(brief(t), router.MetadataTo, "agent:server")
	for n := range uint64(20) {
		id := fmt.Sprintf("m%d", n)
		got, err := routerpb.NewRouterServiceClient(conn).SendMessage(ctx, &routerpb.SendMessageRequest{Msg: &commonpb.Envelope{
			MessageId: id, ProducerId: "client", CorrelationId: id, IdempotencyToken: "client:op:" + id, SequenceNumber: n + 1,
			MessageType: commonpb.MessageType_DATA, ContentType: "text/plain", Payload: []byte(unlike(n)), ContentLength: uint64(len(unlike(n))),
		}})
		require.NoError(t, err)
		require.True(t, got.GetAccepted(), got.GetReason())
	}
	require.NoError(t, s.Stop(brief(t)))
	s.start() // moves what the log holds into a table
	table := flipStored(t, s.data, unlike(10))

	server := ours(t, s, agent.Config{ID: "server"})
	require.NoError(t, server.Start(t.Context()))
	select {
	case <-s.Done():
	case <-brief(t).Done():
		t.Fatal("the services go on with damaged data: ", s.Tail())
	}
	require.Equal(t, 5, s.ExitCode(), s.Tail())
	lines := strings.Split(strings.TrimSpace(s.Tail()), "\n")
	last := lines[len(lines)-1]
	for _, want := range []string{"sw4rm: ", table + " is damaged", "sw4rm buffer verify", "sw4rm buffer salvage"} {
		require.Contains(t, last, want)
	}
	require.Equal(t, 1, strings.Count(last, "Fix: "), last)
}

// TestDamageMetByAnAgent damages a message that waits for being sent, after the agent has opened its directory.
func TestDamageMetByAnAgent(t *testing.T) {
	s := startServices(t, time.Second)
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 { // opening moves what the log holds into a table
		a := ours(t, s, agent.Config{ID: "client", DataDir: dir})
		for n := range uint64(20) {
			_, err := tell.Send(t.Context(), exchange.NewClient(a, address.Agent("server")), wrapperspb.String(unlike(n)))
			require.NoError(t, err)
		}
		require.NoError(t, a.Close())
	}
	a := ours(t, s, agent.Config{ID: "client", DataDir: dir})
	table := flipStored(t, dir, unlike(10))
	err := a.Run(brief(t))
	require.ErrorIs(t, err, agent.ErrStoreFailed)
	var damage *store.DamagedError
	require.ErrorAs(t, err, &damage)
	require.Equal(t, table, damage.File)
	require.ErrorContains(t, err, "sw4rm buffer verify")
	require.Equal(t, 1, strings.Count(err.Error(), "Fix: "), err)
}
