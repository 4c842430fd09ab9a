package agent

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// arrivals collects the frames of each stream that come while earlier ones are written, so that they share a sync. What is
// in it is bounded by the deliveries' credit.
type arrivals struct {
	mu      sync.Mutex
	waiting map[string][]arrivedFrame
}

// arrivedFrame is a frame that was delivered, or a stream's end.
type arrivedFrame struct {
	d     inbound
	token string // of the request
	frame activity.StreamFrame
}

func newArrivals() *arrivals { return &arrivals{waiting: map[string][]arrivedFrame{}} }

func (q *arrivals) add(key string, f arrivedFrame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting[key] = append(q.waiting[key], f)
}

func (q *arrivals) take(key string) []arrivedFrame {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.waiting[key]
	delete(q.waiting, key)
	return list
}

// deliveredAnswer takes a reply, a frame, a tool's error, or what a reader of frames says.
func (a *Agent) deliveredAnswer(d inbound, ct envelope.ContentType) {
	env := d.GetEnvelope()
	token, run, n, numbered := envelope.ParseFrameToken(env.GetIdempotencyToken())
	switch {
	case ct.Kind == envelope.KindWindow:
		a.work.do("window/"+env.GetProducerId(), func() { a.receiveWindow(d) })
	case numbered && run > 0:
		f, err := parseFrame(env, ct, run, n)
		if err == nil {
			err = envelope.Validate(env, a.limits)
		}
		if err != nil {
			a.log.Warn("a frame is not valid", "from", env.GetProducerId(), "error", err)
			a.settled(d)
			return
		}
		key := env.GetProducerId() + "\n" + env.GetCorrelationId() + "\n" + token
		a.arrivals.add(key, arrivedFrame{d: d, token: token, frame: f})
		a.work.do("frames/"+key, func() {
			if list := a.arrivals.take(key); len(list) > 0 {
				a.receiveFrames(list)
			}
		})
	case env.GetMessageType() == commonpb.MessageType_TOOL_RESULT, env.GetMessageType() == commonpb.MessageType_TOOL_ERROR:
		// A peer may number its results by their order alone, and give each a token of its own.
		a.work.do("answer/"+env.GetProducerId()+"/"+env.GetCorrelationId(), func() { a.receiveAnswer(d, ct) })
	default:
		a.work.do("answer/"+env.GetIdempotencyToken()+"/"+env.GetCorrelationId(), func() { a.receiveAnswer(d, ct) })
	}
}

// parseFrame reads a frame, or the end of a stream, whose token names its number.
func parseFrame(env *commonpb.Envelope, ct envelope.ContentType, run, n uint64) (activity.StreamFrame, error) {
	f := activity.StreamFrame{Run: run, Number: n, MessageID: env.GetMessageId()}
	last, isEnd := param(ct, paramLast), env.GetMessageType() == commonpb.MessageType_TOOL_ERROR
	if last == "" && !isEnd {
		f.Body = &storagepb.Body{ContentType: env.GetContentType(), Payload: env.GetPayload()}
		return f, nil
	}
	f.Number = n - 1
	if total, err := strconv.ParseUint(last, 10, 64); err != nil || total != f.Number {
		return f, fmt.Errorf("the parameter %s is %q, the token says %d", paramLast, last, f.Number)
	}
	var end ack.Ack
	var err error
	if isEnd {
		end, err = parseToolError(env, ct)
	} else {
		end, err = ack.Parse(ct.Media, env.GetPayload())
	}
	if err == nil && !end.Stage.Terminal() {
		err = fmt.Errorf("stage %v ends nothing", end.Stage)
	}
	f.End = &end
	return f, err
}

// receiveFrames stores frames of one stream, from one agent, that came together.
func (a *Agent) receiveFrames(list []arrivedFrame) {
	env := list[0].d.GetEnvelope()
	in := activity.Frames{Token: list[0].token, CorrelationID: env.GetCorrelationId(), From: env.GetProducerId()}
	for _, f := range list {
		in.List = append(in.List, f.frame)
	}
	if a.storeFrames(in) {
		for _, f := range list {
			a.settled(f.d)
		}
	}
}

// storeFrames stores frames, and tells whether their deliveries are settled.
func (a *Agent) storeFrames(in activity.Frames) bool {
	rec, err := a.buf.OutForReply(in.Token, in.CorrelationID)
	switch {
	case errors.Is(err, activity.ErrUnknown):
		a.log.Info("frames answer no request of this agent", "from", in.From, "token", in.Token)
		a.tellClosed(&storagepb.OutRecord{Token: in.Token, CorrelationId: in.CorrelationID}, in.From, lastRun(in))
		return true
	case err != nil:
		a.failure("find the request of a stream", err)
		return false
	case !rec.GetStreams():
		a.log.Warn("frames answer a request that wants one reply", "from", in.From, "exchange", rec.GetExchange())
		return true
	case !entitled(rec, in.From):
		a.log.Warn("frames come from an agent that the request was not sent to", "from", in.From, "to", rec.GetTo())
		return true
	}
	o := a.handle(rec, a.reg.descriptor(rec.GetExchange()), nil)
	in.Limit = o.frameLimit()
	c, err := a.buf.FramesOut(a.base, in)
	switch {
	case errors.Is(err, activity.ErrFinished):
		if rec.GetWindow() > 0 {
			a.tellClosed(rec, in.From, lastRun(in))
		}
	case errors.Is(err, activity.ErrUnknown):
	case err != nil:
		a.failure("store frames", err)
		return false
	default:
		o.framesCame(c)
	}
	return true
}

func lastRun(in activity.Frames) uint64 { return in.List[len(in.List)-1].Run }

// receiveAnswer stores a reply with the operation that it answers; of a stream, it is the next frame.
func (a *Agent) receiveAnswer(d inbound, ct envelope.ContentType) {
	env := d.GetEnvelope()
	token, _ := envelope.RequestToken(env.GetIdempotencyToken())
	if err := envelope.Validate(env, a.limits); err != nil {
		a.log.Warn("a reply is not valid", "from", env.GetProducerId(), "error", err)
		a.settled(d)
		return
	}
	rec, err := a.buf.OutForReply(token, env.GetCorrelationId())
	if err == nil {
		err = a.storeAnswer(rec, token, env, ct)
	}
	var problem *ack.Error
	var badType *envelope.ContentTypeError
	switch {
	case errors.Is(err, activity.ErrUnknown):
		a.log.Info("a reply answers no request of this agent", "from", env.GetProducerId(), "token", token)
	case errors.As(err, &problem), errors.As(err, &badType):
		a.log.Warn("a reply cannot be read", "from", env.GetProducerId(), "token", token, "error", err)
	case err != nil:
		a.failure("record a reply", err)
		return
	}
	a.settled(d)
}

// storeAnswer stores what answers an operation and has no number.
func (a *Agent) storeAnswer(rec *storagepb.OutRecord, token string, env *commonpb.Envelope, ct envelope.ContentType) error {
	d := a.reg.descriptor(rec.GetExchange())
	frames := activity.Frames{Token: token, CorrelationID: env.GetCorrelationId(), From: env.GetProducerId()}
	isError := env.GetMessageType() == commonpb.MessageType_TOOL_ERROR
	if !entitled(rec, env.GetProducerId()) {
		a.log.Warn("an answer comes from an agent that the request was not sent to", "from", env.GetProducerId(), "to", rec.GetTo())
		return nil
	}
	if isError {
		sig, err := parseToolError(env, ct)
		if err != nil {
			return err
		}
		sig.ForMessageID = attemptFor(rec, sig.ForMessageID)
		if !rec.GetStreams() {
			ch, err := a.buf.AckOut(a.base, sig, env.GetProducerId())
			if err == nil {
				a.handle(rec, d, nil).change(ch, nil)
			}
			return err
		}
		frames.List = []activity.StreamFrame{{End: &sig}}
		return a.storeUnnumbered(rec, frames)
	}
	body, final, err := unwrap(d, env, ct)
	if err != nil {
		return err
	}
	if rec.GetStreams() {
		frames.List = []activity.StreamFrame{{MessageID: env.GetMessageId(), Body: body}}
		if final {
			end := ack.Ack{ForMessageID: lastAttempt(rec).GetMessageId(), Stage: ack.Fulfilled}
			frames.List = append(frames.List, activity.StreamFrame{End: &end})
		}
		return a.storeUnnumbered(rec, frames)
	}
	ch, err := a.buf.ReplyOut(a.base, activity.Reply{
		Token: token, CorrelationID: env.GetCorrelationId(), From: env.GetProducerId(), MessageID: env.GetMessageId(), Body: body,
	})
	if err == nil {
		a.handle(ch.Record, d, nil).change(ch, nil)
	}
	return err
}

// storeUnnumbered stores frames of a peer that does not number them.
func (a *Agent) storeUnnumbered(rec *storagepb.OutRecord, in activity.Frames) error {
	in.Limit = math.MaxUint64
	c, err := a.buf.FramesOut(a.base, in)
	if errors.Is(err, activity.ErrFinished) {
		a.log.Info("a frame came after the end of its stream", "from", in.From, "exchange", rec.GetExchange())
		return nil
	}
	if err == nil {
		a.handle(rec, a.reg.descriptor(rec.GetExchange()), nil).framesCame(c)
	}
	return err
}

// frameLimit is the highest number that a stream's sender may have reached by what it was told.
func (o *operation) frameLimit() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rec.GetWindow() == 0 || o.draining() {
		return math.MaxUint64
	}
	return max(o.reading.read, o.reading.found) + exchange.FrameWindow
}
