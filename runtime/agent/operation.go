package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// operation is the handle of a stored operation, and what the outbox knows of it while it is active.
type operation struct {
	a    *Agent
	seq  uint64
	d    *exchange.Descriptor
	item *item

	mu      sync.Mutex
	rec     *storagepb.OutRecord
	changed chan struct{} // closed and replaced with every change
	waiters int
	body    *storagepb.Body // until the first submission is answered
	pace    pace
	reading reading
	// replyTimeout ends a stream when its reader waits longer for a frame; 0 for never.
	replyTimeout time.Duration

	withdrawal uint64 // the last question to take the message back; guarded by the agent's mutex
}

// pace is when an active operation is submitted next, besides its record.
type pace struct {
	// again is when the same attempt is submitted next, to ask or after a refusal.
	again    time.Time
	asked    int
	refused  int
	obstacle error // why the router has refused it last
	// withdrawing tells that the deadline has passed and the router was asked to give the message back; expired is when it is
	// asked again, once the time to live is over.
	withdrawing bool
	expired     time.Time
	handed      handed
}

// Ref implements exchange.Operation.
func (o *operation) Ref() exchange.Ref { return o.a.outRef(o.seq) }

// Status implements exchange.Operation.
func (o *operation) Status() exchange.Status {
	rec, _ := o.current()
	s := exchange.Status{Ref: o.Ref(), Stage: furthest(rec), Done: done(rec)}
	for _, at := range rec.GetAttempts() {
		s.Attempts = append(s.Attempts, exchange.Attempt{
			MessageID: at.GetMessageId(), RetryCount: int(at.GetRetryCount()),
			CreatedAt: moment(at.GetCreatedAt()), AcceptedAt: moment(at.GetAcceptedAt()), ReceivedAt: moment(at.GetReceivedAt()),
			ReadAt: moment(at.GetReadAt()), EndedAt: moment(at.GetEndedAt()),
			Stage: ack.Stage(at.GetStage()), Code: ack.Code(at.GetCode()), Note: at.GetNote(),
		})
	}
	switch {
	case s.Done:
		s.Err = outcomeError(rec)
	default:
		s.Err = o.obstacle()
	}
	return s
}

// Wait implements exchange.Operation.
func (o *operation) Wait(ctx context.Context, stage ack.Stage) error {
	if stage.Terminal() {
		o.awaited(1)
		defer o.awaited(-1)
	}
	rec, err := o.await(ctx, func(rec *storagepb.OutRecord) bool { return done(rec) || furthest(rec) >= stage })
	if err != nil {
		return err
	}
	if done(rec) && furthest(rec) < stage || rec.GetOutcome() != nil {
		return outcomeError(rec)
	}
	return nil
}

// Result implements exchange.Operation. Of a stream, the result is the error that it ends with.
func (o *operation) Result(ctx context.Context) (proto.Message, error) {
	if rec, _ := o.current(); rec.GetStreams() {
		o.awaited(1)
		defer o.awaited(-1)
		rec, err := o.await(ctx, done)
		if err != nil {
			return nil, err
		}
		return o.result(rec)
	}
	o.mu.Lock()
	o.waiters++
	o.mu.Unlock()
	rec, err := o.await(ctx, done)
	o.mu.Lock()
	o.waiters--
	abandoned := err != nil && o.waiters == 0 && done(o.rec)
	o.mu.Unlock()
	if err != nil {
		if abandoned { // it ended at the same moment; somebody else has to take the result
			o.a.offerResult(o, false)
		}
		return nil, err
	}
	reply, err := o.result(rec)
	if markErr := o.a.buf.HandledOut(o.seq); markErr != nil && !errors.Is(markErr, activity.ErrUnknown) {
		o.a.log.Warn("cannot mark a result as handled", "ref", o.Ref(), "error", markErr)
	}
	return reply, err
}

// await blocks until the record meets the condition. In a handler, it gives the handler's place to others meanwhile.
func (o *operation) await(ctx context.Context, met func(*storagepb.OutRecord) bool) (*storagepb.OutRecord, error) {
	if rec, _ := o.current(); met(rec) {
		return rec, nil
	}
	if t := taskFrom(ctx); t != nil {
		t.yield()
		defer t.resume(ctx)
	}
	for {
		rec, changed := o.current()
		if met(rec) {
			return rec, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, o.unfinished(o.why(context.Cause(ctx)))
		case <-o.a.failed:
			return nil, o.unfinished(o.a.stopCause())
		case <-o.a.stopped:
			return nil, o.unfinished(o.why(o.a.stopCause()))
		}
	}
}

// unfinished is the error of waiting that ended with err.
func (o *operation) unfinished(err error) error { return exchange.NewUnfinished(o.Status(), err) }

// why adds to the reason why waiting ended what keeps the operation from moving.
func (o *operation) why(err error) error {
	if un := o.a.unreachable(); un != nil {
		return fmt.Errorf("%w: %w", err, un)
	}
	return err
}

func (o *operation) current() (*storagepb.OutRecord, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rec, o.changed
}

// refresh takes over what the buffer has. Whoever waits is told of an end, so that it waits for the disk where it is not
// durable yet: what another goroutine has recorded and still waits for. durable is a record whose end is, nil for none.
func (o *operation) refresh(durable *storagepb.OutRecord) *storagepb.OutRecord {
	for {
		rec, ok := o.takeOver(durable)
		if ok {
			return rec
		}
		if o.a.buf.Settle(o.a.base) != nil {
			rec, _ = o.current() // the store has failed, and nobody is told anything any more
			return rec
		}
		durable = rec
	}
}

// takeOver makes what the buffer has known, unless its end need not be durable. It returns the record that is known, or the
// one that is not.
func (o *operation) takeOver(durable *storagepb.OutRecord) (*storagepb.OutRecord, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rec, err := o.a.buf.Out(o.seq)
	switch {
	case err != nil && endOf(durable) > endOf(o.rec):
		rec = durable // ended, and pruned already
	case err != nil:
		return o.rec, true // pruned, or the store has failed; what is known stays
	case endOf(rec) > max(endOf(durable), endOf(o.rec)):
		return rec, false
	}
	o.rec = rec
	o.wake()
	return rec, true
}

// endOf tells how far a record has come to its end: it has none, an outcome to which something is still missing, or all.
func endOf(rec *storagepb.OutRecord) int {
	switch {
	case done(rec):
		return 2
	case rec.GetOutcome() != nil:
		return 1
	default:
		return 0
	}
}

// wake lets everybody look who waits for a change. The lock is held.
func (o *operation) wake() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// result returns the reply of a finished operation, or the error that its outcome is.
func (o *operation) result(rec *storagepb.OutRecord) (proto.Message, error) {
	if rec.GetStreams() {
		return nil, streamError(rec)
	}
	if err := outcomeError(rec); err != nil || !rec.GetWantsReply() {
		return nil, err
	}
	if !rec.GetHasReply() {
		return nil, missingReply(rec)
	}
	body, err := o.a.buf.OutReply(o.seq)
	if err != nil {
		return nil, fmt.Errorf("read the reply of %s: %w", o.Ref(), err)
	}
	return o.a.decodeReply(o.d, rec.GetExchange(), body)
}

// missingReply is the error of a request that was fulfilled and ended without its reply, or without all frames.
func missingReply(rec *storagepb.OutRecord) error {
	return &ack.Error{Stage: ack.TimedOut, Code: ack.AckTimeout, Note: rec.GetOutcome().GetNote(), From: rec.GetOutcome().GetFrom()}
}

func (a *Agent) decodeReply(d *exchange.Descriptor, name string, body *storagepb.Body) (proto.Message, error) {
	if d == nil || d.NewReply() == nil {
		return nil, fmt.Errorf("the reply of %s cannot be decoded: the exchange is not registered with this agent. Fix: use Resume or HandleReply of the exchange", name)
	}
	ct, err := envelope.ParseContentType(body.GetContentType())
	if err != nil {
		return nil, fmt.Errorf("the reply of %s: %w", name, err)
	}
	reply := d.NewReply()
	if want := d.ReplyName(); ct.Message != "" && ct.Message != want {
		return nil, ack.Failf(ack.ValidationError, "the reply of %s is a %s, not a %s. Fix: use the same schema on both sides", name, ct.Message, want)
	}
	if err := envelope.Decode(ct.Media, body.GetPayload(), reply); err != nil {
		return nil, fmt.Errorf("decode the reply of %s: %w", name, err)
	}
	return reply, nil
}

// done tells whether nothing is expected any more.
func done(rec *storagepb.OutRecord) bool { return rec.GetFinished() != 0 }

func furthest(rec *storagepb.OutRecord) ack.Stage {
	if rec.GetOutcome() != nil {
		return ack.Stage(rec.GetOutcome().GetStage())
	}
	stage := ack.None
	for _, at := range rec.GetAttempts() {
		if s := ack.Stage(at.GetStage()); !s.Terminal() {
			stage = max(stage, s)
		}
	}
	return stage
}

func outcomeError(rec *storagepb.OutRecord) error { return asError(rec.GetOutcome()) }

// asError returns an outcome as the error that it is, nil for success.
func asError(o *storagepb.Outcome) error {
	if o == nil || ack.Stage(o.GetStage()) == ack.Fulfilled {
		return nil
	}
	return &ack.Error{Stage: ack.Stage(o.GetStage()), Code: ack.Code(o.GetCode()), Note: o.GetNote(), From: o.GetFrom()}
}

func lastAttempt(rec *storagepb.OutRecord) *storagepb.Attempt {
	if n := len(rec.GetAttempts()); n > 0 {
		return rec.GetAttempts()[n-1]
	}
	return &storagepb.Attempt{}
}

func moment(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// refs tell the records of one store from those of another.
func (a *Agent) outRef(seq uint64) exchange.Ref { return a.ref("out", seq) }
func (a *Agent) inRef(seq uint64) exchange.Ref  { return a.ref("in", seq) }

func (a *Agent) ref(kind string, seq uint64) exchange.Ref {
	return exchange.Ref(kind + "/" + a.shortID() + "/" + strconv.FormatUint(seq, 10))
}

func (a *Agent) parseRef(kind string, ref exchange.Ref) (uint64, error) {
	parts := strings.Split(string(ref), "/")
	if len(parts) == 3 && parts[0] == kind && parts[1] == a.shortID() {
		if seq, err := strconv.ParseUint(parts[2], 10, 64); err == nil {
			return seq, nil
		}
	}
	return 0, fmt.Errorf("%q: %w", ref, exchange.ErrUnknownRef)
}

func (a *Agent) shortID() string {
	id := a.instance.ID
	return id[:min(8, len(id))]
}
