package main

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	registrypb "github.com/sw4rm/sw4rm-go/proto/sw4rm/registry"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
)

// asCommand makes this test's program be sw4rm itself.
const asCommand = "SW4RM_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append([]string{asCommand + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}, env...)
	cmd.Dir = t.TempDir()
	return cmd
}

// run runs the command to its end.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := command(t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// installation is sw4rm up as a process.
type installation struct {
	t                *testing.T
	cmd              *exec.Cmd
	stderr           *bytes.Buffer
	router, registry string
	waited           bool
}

// up starts sw4rm up and waits until it serves.
func up(t *testing.T, env []string, args ...string) *installation {
	t.Helper()
	i := &installation{t: t, cmd: command(t, env, append([]string{"up"}, args...)...), stderr: new(bytes.Buffer)}
	i.cmd.Stderr = i.stderr
	out, err := i.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, i.cmd.Start())
	t.Cleanup(func() {
		if !i.waited {
			_ = i.cmd.Process.Kill()
			_ = i.cmd.Wait()
		}
	})
	lines := bufio.NewScanner(out)
	for _, name := range []string{"router", "registry"} {
		require.True(t, lines.Scan(), "no line of the %s: %s", name, i.stderr)
		found := regexp.MustCompile(`^` + name + ` listening on (127\.0\.0\.1:\d+)$`).FindStringSubmatch(lines.Text())
		require.NotNil(t, found, lines.Text())
		if name == "router" {
			i.router = found[1]
		} else {
			i.registry = found[1]
		}
	}
	return i
}

// stop signals the process and returns its exit code.
func (i *installation) stop(s os.Signal) int {
	i.t.Helper()
	require.NoError(i.t, i.cmd.Process.Signal(s))
	_ = i.cmd.Wait()
	i.waited = true
	return i.cmd.ProcessState.ExitCode()
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func anyPorts(data string) []string {
	return []string{"--router", "localhost:0", "--registry", "http://localhost:0", "--data", data}
}

func message(id string) *commonpb.Envelope {
	return &commonpb.Envelope{
		MessageId: id, ProducerId: "a", CorrelationId: "c", IdempotencyToken: "t-" + id, SequenceNumber: 1,
		MessageType: commonpb.MessageType_DATA, ContentType: "application/json", Payload: []byte("{}"), ContentLength: 2,
	}
}

func TestUpServesAndStops(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		i := up(t, nil, anyPorts(filepath.Join(t.TempDir(), "deep", "data"))...)
		for _, addr := range []string{i.router, i.registry} {
			got, err := healthpb.NewHealthClient(dial(t, addr)).Check(t.Context(), &healthpb.HealthCheckRequest{})
			require.NoError(t, err)
			require.Equal(t, healthpb.HealthCheckResponse_SERVING, got.GetStatus())
		}
		ok, err := registrypb.NewRegistryServiceClient(dial(t, i.registry)).RegisterAgent(t.Context(),
			&registrypb.RegisterAgentRequest{Agent: &registrypb.AgentDescriptor{AgentId: "a", Capabilities: []string{"cap"}}})
		require.NoError(t, err)
		require.True(t, ok.GetAccepted())
		// A registered agent takes its capability's messages; its open stream does not keep the process.
		router := routerpb.NewRouterServiceClient(dial(t, i.router))
		stream, err := router.StreamIncoming(t.Context(), &routerpb.StreamRequest{AgentId: "a"})
		require.NoError(t, err)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "sw4rm-to", "capability:cap")
		sent, err := router.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: message("m1")})
		require.NoError(t, err)
		require.Equal(t, "new", sent.GetReason())
		item, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, "m1", item.GetMsg().GetMessageId())
		require.Equal(t, 0, i.stop(s), i.stderr)
	}
}

func TestKilledUpLosesNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	i := up(t, nil, anyPorts(data)...)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "sw4rm-to", "agent:b")
	for _, id := range []string{"m1", "m2", "m3"} {
		sent, err := routerpb.NewRouterServiceClient(dial(t, i.router)).SendMessage(ctx, &routerpb.SendMessageRequest{Msg: message(id)})
		require.NoError(t, err)
		require.True(t, sent.GetAccepted())
	}
	_, err := registrypb.NewRegistryServiceClient(dial(t, i.registry)).RegisterAgent(t.Context(),
		&registrypb.RegisterAgentRequest{Agent: &registrypb.AgentDescriptor{AgentId: "b"}})
	require.NoError(t, err)
	i.stop(syscall.SIGKILL)

	i = up(t, nil, anyPorts(data)...)
	beat, err := registrypb.NewRegistryServiceClient(dial(t, i.registry)).Heartbeat(t.Context(), &registrypb.HeartbeatRequest{AgentId: "b"})
	require.NoError(t, err)
	require.True(t, beat.GetOk())
	stream, err := routerpb.NewRouterServiceClient(dial(t, i.router)).StreamIncoming(t.Context(), &routerpb.StreamRequest{AgentId: "b"})
	require.NoError(t, err)
	for _, id := range []string{"m1", "m2", "m3"} {
		item, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, id, item.GetMsg().GetMessageId())
	}
	require.Equal(t, 0, i.stop(syscall.SIGTERM), i.stderr)
}

func TestTheLeaseOfTheEnvironment(t *testing.T) {
	i := up(t, []string{"SW4RM_DELIVERY_LEASE_SECONDS=0.5"}, anyPorts(filepath.Join(t.TempDir(), "data"))...)
	router := routerpb.NewRouterServiceClient(dial(t, i.router))
	stream, err := router.StreamIncoming(t.Context(), &routerpb.StreamRequest{AgentId: "b"})
	require.NoError(t, err)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "sw4rm-to", "agent:b")
	_, err = router.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: message("m1")})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	again, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, first.GetSeq(), again.GetSeq())
	require.Equal(t, 0, i.stop(syscall.SIGTERM), i.stderr)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	i := up(t, nil, anyPorts(data)...)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	other := filepath.Join(t.TempDir(), "other")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	for name, test := range map[string]struct {
		env  []string
		args []string
		code int
		want []string
	}{
		"data in use":          {nil, append([]string{"up"}, anyPorts(data)...), 4, []string{data + " is in use"}},
		"data is a file":       {nil, append([]string{"up"}, anyPorts(file)...), 4, []string{file}},
		"data is below a file": {nil, append([]string{"up"}, anyPorts(filepath.Join(file, "data"))...), 4, []string{file, "cannot be made"}},
		"data has no name":     {nil, append([]string{"up"}, anyPorts("")...), 4, []string{`data directory ""`}},
		"router in use":        {nil, []string{"up", "--router", i.router, "--data", other}, 3, []string{i.router + " is in use", "--router localhost:0"}},
		"registry in use":      {nil, []string{"up", "--router", "localhost:0", "--registry", taken.Addr().String()}, 3, []string{"is in use", "--registry localhost:0"}},
		"not this machine":     {nil, []string{"up", "--router", "0.0.0.0:0", "--data", other}, 3, []string{"0.0.0.0:0", "no authentication"}},
		"environment, address": {[]string{"SW4RM_ROUTER_ADDR=192.0.2.1:0"}, []string{"up"}, 3, []string{"192.0.2.1:0"}},
		"environment, lease":   {[]string{"SW4RM_DELIVERY_LEASE_SECONDS=soon"}, []string{"up"}, 2, []string{"SW4RM_DELIVERY_LEASE_SECONDS", "soon"}},
		"environment, level":   {[]string{"SW4RM_LOG_LEVEL=loud"}, []string{"up"}, 2, []string{"SW4RM_LOG_LEVEL", "loud"}},
		"unknown flag":         {nil, []string{"up", "--nonsense"}, 2, []string{"--nonsense", "sw4rm up --help"}},
		"argument":             {nil, []string{"up", "now"}, 2, []string{`"now"`}},
		"unknown command":      {nil, []string{"down"}, 2, []string{`"down"`}},
	} {
		code, stdout, stderr := run(t, test.env, test.args...)
		require.Equal(t, test.code, code, "%s: %s", name, stderr)
		require.Empty(t, stdout, name)
		require.Equal(t, 1, strings.Count(stderr, "\n"), "%s: %s", name, stderr)
		require.True(t, strings.HasPrefix(stderr, "sw4rm: "), stderr)
		require.Contains(t, stderr, "Fix: ", name)
		for _, want := range test.want {
			require.Contains(t, stderr, want, name)
		}
	}
	require.Equal(t, 0, i.stop(syscall.SIGTERM), i.stderr)
}

func TestHelpAndVersion(t *testing.T) {
	code, stdout, _ := run(t, nil, "up", "--help")
	require.Equal(t, 0, code)
	for _, want := range []string{"--router", "--registry", "--data", "SW4RM_ROUTER_ADDR", "SW4RM_REGISTRY_ADDR", "SW4RM_UP_DATA", "SW4RM_DELIVERY_LEASE_SECONDS", "Exit codes:"} {
		require.Contains(t, stdout, want)
	}
	code, stdout, _ = run(t, []string{"SW4RM_UP_DATA=/some/where"}, "up", "--help")
	require.Equal(t, 0, code)
	require.Contains(t, stdout, "/some/where")
	for _, arg := range []string{"version", "--version"} {
		code, stdout, _ = run(t, nil, arg)
		require.Equal(t, 0, code)
		require.Regexp(t, `^sw4rm \S+.* go1\.\S+ \w+/\w+\n$`, stdout)
	}
}
