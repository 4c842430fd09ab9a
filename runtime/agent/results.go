package agent

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

const (
	// A reply handler that fails is called again at these intervals.
	resultFirst = time.Second
	resultLast  = 5 * time.Minute
)

// deliverResult calls the reply handler until it takes the result. What it has not taken when the agent closes is offered
// again at the next start.
func (a *Agent) deliverResult(ctx context.Context, o *operation, fn exchange.ReplyHandler, late bool) {
	for n := 0; ; n++ {
		select {
		case a.results <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := a.callReplyHandler(ctx, o, fn, late)
		<-a.results
		if err == nil {
			if err := a.buf.HandledOut(o.seq); err != nil {
				a.failure("mark a result as handled", err)
			}
			return
		}
		if ctx.Err() != nil {
			return
		}
		wait := doubled(resultFirst, n, resultLast)
		a.log.Warn("a reply handler failed and is called again", "ref", o.Ref(), "after", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) callReplyHandler(ctx context.Context, o *operation, fn exchange.ReplyHandler, late bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("a reply handler panicked", "ref", o.Ref(), "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the reply handler panicked: %v", p)
		}
	}()
	rec, _ := o.current()
	d := a.reg.descriptor(rec.GetExchange())
	req, err := a.originalRequest(o, d)
	if err != nil {
		return err
	}
	reply, outcome := o.result(rec)
	from := rec.GetOutcome().GetFrom()
	if l := lateResult(rec); late && l != nil {
		from = l.GetOutcome().GetFrom()
		if body := l.GetReply(); body != nil {
			reply, outcome = a.decodeReply(d, rec.GetExchange(), body)
		} else {
			reply, outcome = nil, asError(l.GetOutcome())
		}
	}
	info := exchange.Info{
		From: from, To: rec.GetTo(), Exchange: rec.GetExchange(), MessageID: lastAttempt(rec).GetMessageId(),
		CorrelationID: rec.GetCorrelationId(), Token: rec.GetToken(), Attempt: len(rec.GetAttempts()), Late: late,
	}
	if rec.GetStreams() {
		ctx = exchange.WithFrames(ctx, a.storedFrames(o, rec, outcome))
	}
	return fn(exchange.NewContext(ctx, info.WithRef(o.Ref())), req, reply, outcome)
}

// lateResult returns what came after the operation's end and is a result: the last reply, else the last outcome.
func lateResult(rec *storagepb.OutRecord) *storagepb.Late {
	var last *storagepb.Late
	for _, l := range slices.Backward(rec.GetLate()) {
		if l.GetReply() != nil {
			return l
		}
		if last == nil && !announcesReply(rec, l) {
			last = l
		}
	}
	return last
}

// announcesReply tells whether l is the success of a request without its reply, which comes by itself.
func announcesReply(rec *storagepb.OutRecord, l *storagepb.Late) bool {
	return rec.GetWantsReply() && l.GetReply() == nil && ack.Stage(l.GetOutcome().GetStage()) == ack.Fulfilled
}

func (a *Agent) originalRequest(o *operation, d *exchange.Descriptor) (proto.Message, error) {
	body, err := a.buf.OutBody(o.seq)
	if err != nil {
		return nil, fmt.Errorf("read the stored request: %w", err)
	}
	req := d.NewRequest()
	if err := envelope.Decode(body.GetContentType(), body.GetPayload(), req); err != nil {
		return nil, fmt.Errorf("decode the stored request: %w", err)
	}
	return req, nil
}

// offerUnhandled offers the results that an earlier process has left.
func (a *Agent) offerUnhandled() {
	a.reg.mu.Lock()
	names := make([]string, 0, len(a.reg.replies))
	for name := range a.reg.replies {
		names = append(names, name)
	}
	a.reg.mu.Unlock()
	for _, name := range names {
		err := a.buf.UnhandledOut(name, func(rec *storagepb.OutRecord) error {
			o := &operation{a: a, seq: rec.GetSequence(), d: a.reg.descriptor(name), rec: rec, changed: make(chan struct{})}
			l := lateResult(rec)
			a.offerResult(o, l.GetReply() != nil && !rec.GetHasReply())
			return nil
		})
		if err != nil {
			a.failure("find results that nobody has handled", err)
		}
	}
}
