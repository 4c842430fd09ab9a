package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

// The roles of agent processes, and the environment that tells them their part.
const (
	roleWorker = "worker"
	roleClient = "client"

	envID         = "SW4RM_E2E_ID"
	envProcess    = "SW4RM_E2E_PROCESS"
	envDir        = "SW4RM_E2E_DIR"
	envOperations = "SW4RM_E2E_OPERATIONS"
)

// text is the payload of all exchanges: the key of the operation.
type text = wrapperspb.StringValue

const service = "e2e.v1.Work"

// An operation must survive as many attempts as there are kills; what a test would wait for is short.
var policy = []exchange.Option{
	exchange.AckTimeout(time.Second), exchange.Backoff(20*time.Millisecond, 500*time.Millisecond, 2), exchange.MaxAttempts(40),
}

var (
	do     = exchange.NewCall[text, text](service+"/Do", policy...)
	tell   = exchange.NewOneWay[text](service+"/Tell", policy...)
	watch  = exchange.NewStream[text, text](service+"/Watch", policy...)
	follow = exchange.NewStream[text, text](service+"/Follow", append(policy, exchange.ContinueOnResume)...)
)

// part is what one agent process has to do.
type part struct {
	id, dir    string
	process    int
	operations int
	history    *history.Writer
}

// actor is how the history names the n-th process of an agent.
func actor(id string, n int) string { return fmt.Sprintf("%s.%d", id, n) }

// cast returns the command that runs this binary as the n-th process of an agent.
func cast(role, id string, n int, dir string, operations int, router, registry string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(),
		envRole+"="+role, envID+"="+id, envProcess+"="+strconv.Itoa(n), envDir+"="+dir, envOperations+"="+strconv.Itoa(operations),
		"SW4RM_ROUTER_ADDR="+router, "SW4RM_REGISTRY_ADDR="+registry)
	return cmd, nil
}

// dataDir and historyDir are where an agent's buffer and all histories are.
func dataDir(dir, id string) string { return filepath.Join(dir, "data", id) }
func historyDir(dir string) string  { return filepath.Join(dir, "history") }

// loadPart reads the part from the environment and opens the process's history.
func loadPart() (*part, error) {
	n, err := strconv.Atoi(os.Getenv(envProcess))
	if err != nil {
		return nil, err
	}
	operations, err := strconv.Atoi(os.Getenv(envOperations))
	if err != nil {
		return nil, err
	}
	p := &part{id: os.Getenv(envID), dir: os.Getenv(envDir), process: n, operations: operations}
	p.history, err = history.Create(historyDir(p.dir), actor(p.id, n))
	return p, err
}

// agent opens the part's agent.
func (p *part) agent() (*agent.Agent, error) {
	return sw4rm.New(agent.Config{
		ID: p.id, DataDir: dataDir(p.dir, p.id), DrainTimeout: 20 * time.Second, Heartbeat: time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

// until returns a context that ends when the process is asked to stop.
func until() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}

// plan is how one operation travels. It follows from the operation's key, so that every process knows it.
type plan struct {
	// to is where it goes.
	to    address.Address
	shape shape
	// frames is how many a stream has.
	frames int
	// keyed operations have a key of the sender's own, so that sending again is safe.
	keyed bool
	// waited operations have somebody who waits for their result; those of the others go to the reply handler.
	waited bool
	// trouble is the code with which the first attempt fails, 0 for none.
	trouble ack.Code
	// effort is how long the handler works.
	effort time.Duration
	// ttl is how long it may wait for its handler, 0 for ever.
	ttl time.Duration
	// lane is the conversation in which its order counts, empty for none.
	lane string
}

// workers are the agents that handle.
var workers = []string{"worker-1", "worker-2"}

const clientID = "client"

// planOf draws the plan of an operation from its key.
func planOf(key string) plan {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	n := h.Sum64()
	draw := func(of uint64) uint64 {
		v := n % of
		n /= of
		return v
	}
	p := plan{to: address.Capability(service)}
	if i := draw(3); i < uint64(len(workers)) {
		p.to = address.Agent(workers[i])
	}
	p.shape = shape(draw(uint64(shapes)))
	p.keyed = draw(2) == 0
	p.waited = draw(2) == 0
	switch draw(8) {
	case 0:
		p.trouble = ack.Overloaded // another member may take it
	case 1:
		p.trouble = ack.InternalError // the same agent tries again
	}
	p.effort = time.Duration(1+draw(20)) * time.Millisecond
	p.frames = int(draw(3 * exchange.FrameWindow))
	if draw(5) == 0 {
		p.ttl = shortLife
	}
	if p.shape == oneWay && p.to.Kind() == address.KindAgent {
		p.lane = fmt.Sprintf("%s %d", p.to, numberOf(key)/laneLength)
	}
	return p
}

const (
	// shortLife is long enough for most, and shorter than some faults.
	shortLife = 400 * time.Millisecond
	// laneLength bounds how many operations have an order among themselves.
	laneLength = 24
)

// correlation is the conversation of a lane: a UUIDv4 that follows from its name.
func correlation(lane string) string {
	sum := sha256.Sum256([]byte(lane))
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// shape is what an operation's exchange looks like.
type shape int

const (
	oneWay shape = iota
	call
	restarting // a stream that begins again with its handler
	continuing // a stream that goes on
	shapes
)

// stream returns a stream's exchange.
func (s shape) stream() *exchange.Stream[*text, *text] {
	if s == continuing {
		return follow
	}
	return watch
}

// keyOf is the key of an operation's n-th sending, for those that cannot find out whether an earlier one was accepted.
func keyOf(operation, sending int) string {
	if sending == 0 {
		return fmt.Sprintf("op-%04d", operation)
	}
	return fmt.Sprintf("op-%04d/%d", operation, sending)
}

// operationOf is the operation of a key, without which sending it was.
func operationOf(key string) string {
	op, _, _ := strings.Cut(key, "/")
	return op
}

// numberOf is the number of a key's operation.
func numberOf(key string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(operationOf(key), "op-"))
	if err != nil {
		return 0 // no key of ours
	}
	return n
}

// ending returns stage and code of an outcome, and what it says, false when err is none.
func ending(err error) (stage, code, note string, ok bool) {
	var e *ack.Error
	switch {
	case err == nil:
		return ack.Fulfilled.String(), "", "", true
	case errors.As(err, &e):
		return e.Stage.String(), e.Code.String(), e.Note, true
	default:
		return "", "", "", false
	}
}
