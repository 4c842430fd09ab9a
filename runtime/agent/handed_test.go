package agent

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// spoken is a session of a router that says what the test says, or refuses everything.
type spoken struct {
	session
	router  string
	refuses atomic.Bool
	a       *Agent

	mu                   sync.Mutex
	submitted, withdrawn []uint64
}

func (s *spoken) asks() bool       { return true }
func (s *spoken) routerID() string { return s.router }

func (s *spoken) submit(m *transportpb.Submit) {
	if s.refuses.Load() {
		s.refuse(m.GetN())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.submitted = append(s.submitted, m.GetN())
}

func (s *spoken) refuse(n uint64) {
	s.a.answered(&transportpb.Answer{
		N: n, State: transportpb.Answer_STATE_REFUSED, Code: commonpb.ErrorCode_BUFFER_FULL, Note: "max_work: 1 waits",
	})
}

func (s *spoken) withdraw(w *transportpb.Withdraw) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdrawn = append(s.withdrawn, w.GetN())
}

// take returns what was submitted and withdrawn since it was called last.
func (s *spoken) take() (submitted, withdrawn []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	submitted, withdrawn = s.submitted, s.withdrawn
	s.submitted, s.withdrawn = nil, nil
	return submitted, withdrawn
}

func (*spoken) credit(transportpb.Class, uint32, uint64) {}
func (*spoken) drain()                                   {}

// sending is an agent with one message for the test to play with, on sessions that the test opens and ends.
type sending struct {
	t    *testing.T
	a    *Agent
	disk *store.Memory
	on   *spoken
	p    *exchange.Delivery
}

var tellWork = exchange.NewOneWay[wrapperspb.StringValue]("test.v1.Work/Tell")

func newSending(t *testing.T, opts ...exchange.SendOption) *sending {
	s := &sending{t: t, disk: store.NewMemory()}
	s.launch()
	var err error
	s.p, err = tellWork.Send(t.Context(), exchange.NewClient(s.a, address.Agent("x")), wrapperspb.String("x"), opts...)
	require.NoError(t, err)
	return s
}

func (s *sending) launch() {
	a, err := New(Config{ID: "client", Logger: slog.New(slog.DiscardHandler)}, s.disk)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, a.Close()) })
	s.a = a
	a.background(a.outbox.run)
}

func (s *sending) restart() {
	s.a.outbox.use(nil)
	require.NoError(s.t, s.a.Close())
	s.disk = s.disk.Reopen()
	s.launch()
	var err error
	s.p, err = tellWork.Resume(s.t.Context(), s.a, exchange.Ref(s.p.Ref()))
	require.NoError(s.t, err)
}

func (s *sending) connect(router string) {
	s.on = &spoken{router: router, a: s.a}
	s.a.outbox.use(s.on)
	synctest.Wait()
}

func (s *sending) disconnect() {
	s.a.outbox.use(nil)
	synctest.Wait()
}

// submission waits for the next one, and returns its number.
func (s *sending) submission() uint64 {
	s.t.Helper()
	s.on.refuses.Store(false)
	for range 400 {
		if submitted, _ := s.on.take(); len(submitted) > 0 {
			return submitted[0]
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
	}
	s.t.Fatal("nothing is submitted")
	return 0
}

func (s *sending) answer(state transportpb.Answer_State) {
	s.t.Helper()
	s.a.answered(&transportpb.Answer{N: s.submission(), State: state})
	synctest.Wait()
}

// refuse refuses the next submission, and those behind it until the test waits for one.
func (s *sending) refuse() {
	s.t.Helper()
	n := s.submission()
	s.on.refuses.Store(true)
	s.on.refuse(n)
	synctest.Wait()
}

// end waits for the end, and gives the answer to a withdrawal when there is one.
func (s *sending) end(state transportpb.WithdrawAnswer_State) error {
	deadline := time.Now().Add(3 * time.Minute)
	for time.Now().Before(deadline) && !s.p.Status().Done {
		time.Sleep(time.Second)
		synctest.Wait()
		if s.on == nil {
			continue
		}
		_, withdrawn := s.on.take()
		if state == transportpb.WithdrawAnswer_STATE_UNSPECIFIED {
			require.Empty(s.t, withdrawn, "the router is asked")
		}
		for _, n := range withdrawn {
			s.a.withdrawn(&transportpb.WithdrawAnswer{N: n, State: state})
		}
	}
	require.True(s.t, s.p.Status().Done)
	return s.p.Outcome(s.t.Context())
}

// TestFate ends messages at their deadline, and at the end of their time to live, after all that can become of their
// submissions. Only what no router has got for sure, and what the one router that had it has given back, was never delivered.
func TestFate(t *testing.T) {
	const (
		silent    = transportpb.WithdrawAnswer_STATE_UNSPECIFIED
		withdrawn = transportpb.WithdrawAnswer_STATE_WITHDRAWN
		tooLate   = transportpb.WithdrawAnswer_STATE_TOO_LATE
		unknown   = transportpb.WithdrawAnswer_STATE_UNKNOWN
		accepted  = transportpb.Answer_STATE_NEW
		full      = "; the router last refused it with BUFFER_FULL: max_work: 1 waits"
	)
	for name, test := range map[string]struct {
		play func(s *sending)
		// state is what the router says when it is asked to give the message back; silent where it must not be asked.
		state transportpb.WithdrawAnswer_State
		want  string
	}{
		"never submitted":                   {func(*sending) {}, silent, noteNeverDelivered},
		"never submitted, restarted":        {(*sending).restart, silent, noteOutcomeUnknown},
		"restarted, and the router asked":   {func(s *sending) { s.restart(); s.connect("r"); s.submission() }, unknown, noteOutcomeUnknown},
		"refused":                           {func(s *sending) { s.connect("r"); s.refuse(); s.refuse() }, silent, noteNeverDelivered + full},
		"refused, then disconnected":        {func(s *sending) { s.connect("r"); s.refuse(); s.disconnect() }, silent, noteNeverDelivered + full},
		"refused by two routers":            {func(s *sending) { s.connect("r"); s.refuse(); s.connect("q"); s.refuse() }, silent, noteNeverDelivered + full},
		"refused, restarted, refused":       {func(s *sending) { s.connect("r"); s.refuse(); s.restart(); s.connect("r"); s.refuse() }, unknown, noteOutcomeUnknown + full},
		"refused, then an answer lost":      {func(s *sending) { s.connect("r"); s.refuse(); s.submission(); s.disconnect() }, silent, noteOutcomeUnknown + full},
		"an answer lost":                    {func(s *sending) { s.connect("r"); s.submission(); s.disconnect() }, silent, noteOutcomeUnknown},
		"an answer lost, then refused":      {func(s *sending) { s.connect("r"); s.submission(); s.disconnect(); s.connect("r"); s.refuse() }, unknown, noteOutcomeUnknown + full},
		"failed, then refused":              {func(s *sending) { s.connect("r"); s.fail(); s.refuse() }, unknown, noteOutcomeUnknown + full},
		"accepted":                          {func(s *sending) { s.connect("r"); s.answer(accepted); s.disconnect() }, silent, noteOutcomeUnknown},
		"accepted, and delivered":           {func(s *sending) { s.connect("r"); s.answer(accepted) }, tooLate, noteOutcomeUnknown},
		"accepted, and given back":          {func(s *sending) { s.connect("r"); s.answer(accepted) }, withdrawn, noteNeverDelivered},
		"refused, accepted, given back":     {func(s *sending) { s.connect("r"); s.refuse(); s.answer(accepted) }, withdrawn, noteNeverDelivered},
		"given back by another router":      {func(s *sending) { s.connect("r"); s.answer(accepted); s.connect("q"); s.answer(accepted) }, withdrawn, noteOutcomeUnknown},
		"an answer lost, then given back":   {func(s *sending) { s.connect("r"); s.submission(); s.connect("r"); s.answer(accepted) }, withdrawn, noteNeverDelivered},
		"second attempt, never submitted":   {func(s *sending) { s.again(); s.disconnect() }, silent, noteOutcomeUnknown + "; attempt 1 ended FAILED OVERLOADED: not now"},
		"second attempt, refused":           {func(s *sending) { s.again(); s.refuse() }, silent, noteOutcomeUnknown + full + "; attempt 1 ended FAILED OVERLOADED: not now"},
		"second attempt, and given back":    {func(s *sending) { s.again(); s.answer(accepted) }, withdrawn, noteOutcomeUnknown + "; attempt 1 ended FAILED OVERLOADED: not now"},
		"acknowledged before it is refused": {func(s *sending) { s.connect("r"); s.received(); s.refuse() }, unknown, noteOutcomeUnknown + full},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSending(t, exchange.Deadline(time.Minute), exchange.Backoff(time.Second, time.Second, 1))
				test.play(s)
				err := s.end(test.state)
				require.ErrorIs(t, err, &ack.Error{Stage: ack.TimedOut, Code: ack.AckTimeout, Note: test.want})
			})
		})
	}
	for name, test := range map[string]struct {
		play  func(s *sending)
		state transportpb.WithdrawAnswer_State
		want  string
	}{
		"never submitted":              {func(*sending) {}, silent, noteRanOut},
		"refused":                      {func(s *sending) { s.connect("r"); s.refuse() }, silent, noteRanOut + full},
		"an answer lost, then refused": {func(s *sending) { s.connect("r"); s.submission(); s.disconnect(); s.connect("r"); s.refuse() }, unknown, noteRanOut + full},
	} {
		t.Run("time to live/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSending(t, exchange.TTL(time.Minute))
				test.play(s)
				if test.state == silent {
					time.Sleep(time.Minute + time.Millisecond)
					synctest.Wait()
					assert.True(t, s.p.Status().Done, "nobody need be asked")
				}
				require.ErrorIs(t, s.end(test.state), &ack.Error{Stage: ack.Failed, Code: ack.TTLExpired, Note: test.want})
			})
		})
	}
}

// fail lets the submission end in a failure that does not tell whether the router has the message.
func (s *sending) fail() {
	s.t.Helper()
	n := s.submission()
	s.a.doubted(n)
	s.a.answered(&transportpb.Answer{N: n, State: transportpb.Answer_STATE_REFUSED, Code: commonpb.ErrorCode_AGENT_UNAVAILABLE, Note: "internal"})
	synctest.Wait()
}

func (s *sending) acknowledged(sig ack.Ack) {
	s.t.Helper()
	attempts := s.p.Status().Attempts
	sig.ForMessageID = attempts[len(attempts)-1].MessageID
	o := s.a.ops[1]
	ch, err := s.a.buf.AckOut(s.t.Context(), sig, "x")
	require.NoError(s.t, err)
	o.do(func() { o.change(ch, nil) })
	synctest.Wait()
}

func (s *sending) received() { s.t.Helper(); s.acknowledged(ack.Ack{Stage: ack.Received}) }

// again has the first attempt accepted and fail, and the second one made.
func (s *sending) again() {
	s.t.Helper()
	s.connect("r")
	s.answer(transportpb.Answer_STATE_NEW)
	s.acknowledged(ack.Ack{Stage: ack.Failed, Code: ack.Overloaded, Note: "not now"})
	for range 10 {
		if len(s.p.Status().Attempts) == 2 {
			return
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
	s.t.Fatal("no second attempt is made")
}
