package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

const (
	// maxRuns is how often a message is started; one that has not ended by then takes its process down each time.
	maxRuns = 5
	// maxNote bounds the note of an outcome in bytes.
	maxNote = 1 << 10
)

// queue decodes a message and queues its handler. placed tells that the message has a place of the inbound window, again
// that it may have been started before.
func (a *Agent) queue(rec *storagepb.InRecord, h *handler, refusal error, placed, again bool) {
	t := &task{a: a, rec: rec, h: h, again: again, placed: placed}
	if refusal == nil {
		refusal = a.decodeRequest(t)
	}
	if refusal != nil {
		a.end(t, nil, refusal, nil)
		a.leave(t)
		return
	}
	t.lane = laneOf(t.h, rec.GetFrom(), rec.GetCorrelationId())
	a.dispatch.add(t)
}

// decodeRequest sets the task's message, and its handler to the one with the settings that the message overrides.
func (a *Agent) decodeRequest(t *task) error {
	body, err := a.buf.InBody(t.seq())
	if err != nil {
		return fmt.Errorf("read the stored message: %w", err)
	}
	ct, err := envelope.ParseContentType(body.GetContentType())
	if err != nil {
		return ack.Rejectf(ack.ValidationError, "%v", err)
	}
	if h, err := t.h.with(ct); err != nil {
		return err
	} else {
		t.h = h
	}
	t.req = t.h.d.NewRequest()
	return envelope.Decode(ct.Media, body.GetPayload(), t.req)
}

// leave gives back the task's place of the inbound window.
func (a *Agent) leave(t *task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaveInflow()
}

// runTask runs a handler and records what came of it. The dispatcher starts it in a goroutine of its own.
func (a *Agent) runTask(t *task) {
	t.begin()
	defer a.dispatch.finished(t)
	a.runOnce(t)
	for n := 0; t.rerun && a.awaitRerun(t, n); n++ {
		a.runOnce(t)
	}
}

func (a *Agent) runOnce(t *task) {
	run, ready := a.begin(t)
	if !ready {
		return
	}
	ctx, cancel := a.handlerContext(t, run)
	defer cancel(nil)
	ctx, closeFrames, err := a.withFrames(ctx, cancel, t, run)
	if err != nil {
		a.conclude(ctx, t, nil, err)
		return
	}
	if ranOut(t.rec) { // while the run was counted
		closeFrames()
		a.conclude(ctx, t, nil, errRanOut())
		return
	}
	ctx = a.withData(ctx, t)
	reply, err := a.invoke(ctx, t)
	closeFrames()
	a.conclude(ctx, t, reply, err)
	t.data.Close()
}

// ranOut tells whether the time to live of a received message is over.
func ranOut(rec *storagepb.InRecord) bool {
	at := expiresAt(rec)
	return !at.IsZero() && !time.Now().Before(at)
}

func errRanOut() error { return ack.Failf(ack.TTLExpired, "ttl_expired") }

// begin counts the run and tells the sender that the message is read, unless the message must not run any more.
func (a *Agent) begin(t *task) (run uint32, ready bool) {
	if ranOut(t.rec) {
		a.end(t, nil, errRanOut(), nil)
		return 0, false
	}
	run, err := a.buf.StartIn(a.base, t.seq(), t.again)
	switch {
	case errors.Is(err, activity.ErrFinished), errors.Is(err, activity.ErrUnknown):
		return 0, false
	case err != nil:
		a.failure("count the run of a handler", err)
		return 0, false
	}
	rec, err := a.buf.In(t.seq())
	switch {
	case err != nil:
		a.failure("read a message whose handler starts", err)
		return 0, false
	case rec.GetFinished() != 0:
		return 0, false
	case int(run)-int(rec.GetForgivenRuns()) > maxRuns:
		a.end(t, nil, ack.Failf(ack.InternalError, "poison: the handler was started %d times and never ended. Fix: find out in its log what ends the process", maxRuns), nil)
		return 0, false
	}
	return run, ack.Stage(rec.GetStage()) >= ack.Read || a.noteRead(t)
}

// noteRead records that a message is read, and tells its sender.
func (a *Agent) noteRead(t *task) bool {
	switch err := a.buf.ReadIn(t.seq()); {
	case errors.Is(err, activity.ErrFinished):
		return false
	case err != nil:
		a.failure("record that a message was read", err)
		return false
	}
	for _, alias := range latest(t.rec.GetAliases()) {
		a.signal(t.rec.GetFrom(), t.rec.GetCorrelationId(), ack.Ack{ForMessageID: alias.GetMessageId(), Stage: ack.Read})
	}
	return true
}

// latest is the last of the ids under which a message came; the earlier attempts have ended.
func latest(aliases []*storagepb.Alias) []*storagepb.Alias {
	return aliases[max(0, len(aliases)-1):]
}

func (a *Agent) handlerContext(t *task, run uint32) (context.Context, context.CancelCauseFunc) {
	info := exchange.Info{
		From: t.rec.GetFrom(), To: t.rec.GetTo(), Exchange: t.h.d.Name(), CorrelationID: t.rec.GetCorrelationId(),
		ParentCorrelationID: t.rec.GetParentCorrelationId(), Token: t.rec.GetToken(), Attempt: 1, Run: int(run),
		MessageType: exchange.MessageType(t.rec.GetMessageType()), RepoID: t.rec.GetRepoId(), WorktreeID: t.rec.GetWorktreeId(),
		Deadline: expiresAt(t.rec),
	}
	for _, alias := range latest(t.rec.GetAliases()) {
		info.MessageID, info.Attempt = alias.GetMessageId(), int(alias.GetRetryCount())+1
	}
	ctx := exchange.NewContext(context.WithValue(a.handlers, taskKey{}, t), info.WithRef(a.inRef(t.seq())))
	ctx, cancel := context.WithCancelCause(ctx)
	conclusion := t.running()
	timeout := t.h.policy.HandlerTimeout
	if timeout <= 0 {
		return ctx, cancel
	}
	// The outcome is recorded when the time is over, whether or not the handler heeds its context. Its record cannot run
	// again before it has returned.
	timer := time.AfterFunc(timeout, func() {
		err := ack.Failf(ack.InternalError, "handler_timeout: the handler ran longer than %v. Fix: raise handler_timeout, or make the handler faster", timeout)
		conclusion.fix(func() {
			cancel(err)
			a.end(t, nil, err, nil)
		})
	})
	return ctx, func(cause error) {
		timer.Stop()
		cancel(cause)
	}
}

// invoke calls the handler and turns a panic into an error. The stack goes to the log only.
func (a *Agent) invoke(ctx context.Context, t *task) (reply proto.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("a handler panicked", "exchange", t.h.d.Name(), "ref", a.inRef(t.seq()), "panic", p, "stack", string(debug.Stack()))
			reply, err = nil, ack.Failf(ack.InternalError, "the handler of %s panicked", t.h.d.Name())
		}
	}()
	in := &exchange.Incoming{Exchange: t.h.d, Message: t.req}
	in.Info, _ = exchange.InfoFrom(ctx)
	return t.h.fn(ctx, in)
}

// conclude records what a handler returned, unless the run has ended by its timeout or by an answer from elsewhere.
func (a *Agent) conclude(ctx context.Context, t *task, reply proto.Message, err error) {
	if !t.present().fix(func() { a.record(ctx, t, reply, err) }) && !errors.Is(err, exchange.ErrDeferred) {
		a.log.Warn("a handler returned after its message had its outcome; what it returned is dropped", "exchange", t.h.d.Name(),
			"ref", a.inRef(t.seq()), "error", err)
	}
}

func (a *Agent) record(ctx context.Context, t *task, reply proto.Message, err error) {
	var retry *ack.RetryError
	switch {
	case errors.Is(err, exchange.ErrDeferred):
		a.deferAnswer(t)
	case errors.As(err, &retry):
		a.retryRun(t, retry)
	case err != nil && (errors.Is(context.Cause(ctx), errDrain) || a.handlers.Err() != nil && context.Cause(ctx) == context.Cause(a.handlers)):
		// The agent's end ended the run, not the work: it runs again at the next start, and does not count as a crash.
		if err := a.buf.RetryIn(a.base, t.seq(), time.Now()); err != nil && !errors.Is(err, activity.ErrFinished) {
			a.failure("record that a handler runs again", err)
		}
	case err != nil:
		a.end(t, nil, err, nil)
	default:
		a.end(t, reply, nil, t.data)
	}
}

// end records a message's outcome with its reply, what this agent owes for it, and what its handler has written, in one
// batch.
func (a *Agent) end(t *task, reply proto.Message, err error, data *activity.DataTx) {
	rec, finishErr := a.finish(t, reply, err, data)
	switch {
	case data != nil && a.unwritten(t, finishErr):
	case errors.Is(finishErr, activity.ErrFinished), errors.Is(finishErr, activity.ErrUnknown):
		a.log.Warn("a message has its outcome already; another one is dropped", "ref", a.inRef(t.seq()), "error", err)
	case finishErr != nil:
		a.failure("record the outcome of a message", finishErr)
	default:
		a.pay(rec)
	}
}

func (a *Agent) finish(t *task, reply proto.Message, err error, data *activity.DataTx) (*storagepb.InRecord, error) {
	var body *storagepb.Body
	if err == nil && t.h != nil {
		if body, err = a.encodeReply(t, reply); err != nil {
			data = nil
		}
	}
	o := &storagepb.Outcome{Stage: commonpb.AckStage_FULFILLED, At: timestamppb.Now()}
	if err != nil {
		body = nil
		stage, code := outcomeOf(err)
		o.Stage, o.Code, o.Note = commonpb.AckStage(stage), commonpb.ErrorCode(code), note(err)
	}
	replyID := ""
	if body != nil || tellsEnd(t.rec) || err != nil && isToolCall(t.rec) {
		replyID = a.newID()
	}
	rec, err := a.buf.FinishIn(a.base, t.seq(), activity.Ending{Outcome: o, Reply: body, ReplyID: replyID, NewID: a.newID, Data: data})
	if err == nil {
		a.waiting.forget(t.seq())
	}
	return rec, err
}

// encodeReply encodes a reply in its request's format, and checks its size before the outcome is fixed.
func (a *Agent) encodeReply(t *task, reply proto.Message) (*storagepb.Body, error) {
	if t.h.d.Kind() != exchange.KindCall {
		return nil, nil
	}
	if reply == nil || !reply.ProtoReflect().IsValid() {
		return nil, ack.Failf(ack.InternalError, "the handler of %s returned neither a reply nor an error", t.h.d.Name())
	}
	request, err := a.buf.InBody(t.seq())
	if err != nil {
		return nil, fmt.Errorf("read the stored message: %w", err)
	}
	ct, err := envelope.ParseContentType(request.GetContentType())
	if err != nil {
		return nil, err
	}
	format, _ := exchange.FormatOf(ct.Media) // the request was decoded by it
	payload, err := envelope.Encode(reply, format)
	if err != nil {
		return nil, ack.Failf(ack.InternalError, "encode the reply: %v", err)
	}
	answer := envelope.ContentType{Media: envelope.Media(format)} // a type of the request's own would not be true of the reply
	if ct.Method != "" {
		answer.Method, answer.Message, answer.Kind = ct.Method, t.h.d.ReplyName(), envelope.KindReply
	}
	body := &storagepb.Body{ContentType: answer.String(), Payload: payload}
	probe := a.replyEnvelope(t.rec, body, a.newID())
	if err := envelope.Validate(probe, a.limits); err != nil {
		return nil, ack.Failf(ack.CodeOf(err), "the reply of %s cannot be sent: %v", t.h.d.Name(), note(err))
	}
	return body, nil
}

// outcomeOf maps a handler's error to stage and code. What another agent said of a message of ours is this handler's
// failure, not its own verdict.
func outcomeOf(err error) (ack.Stage, ack.Code) {
	var e *ack.Error
	if errors.As(err, &e) && e.From == "" && (e.Stage == ack.Rejected || e.Stage == ack.Failed) {
		return e.Stage, e.Code
	}
	return ack.Failed, ack.InternalError
}

// note is the text of an outcome.
func note(err error) string {
	text := err.Error()
	var e *ack.Error
	if errors.As(err, &e) && e.From == "" && error(e) == err {
		text = e.Note
	}
	return clip(text, maxNote)
}

// clip makes somebody's text fit for a note or a log, in at most so many bytes.
func clip(text string, most int) string { return strings.ToValidUTF8(text[:min(len(text), most)], "") }
