package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// errHandlerReturned is what a frame gets that comes after its handler has returned, or after its stream has ended.
var errHandlerReturned = errors.New("the stream's handler has returned, or the stream has ended")

// attemptRuns is by how much the number of a run grows with each attempt of the sender, so that the runs of a later attempt
// are the later ones wherever they are.
const attemptRuns = 1_000_000

// runNumber returns the number by which a run's frames are known.
func runNumber(rec *storagepb.InRecord, run uint32) uint64 {
	var attempt uint64
	for _, alias := range latest(rec.GetAliases()) {
		attempt = uint64(alias.GetRetryCount())
	}
	return attempt*attemptRuns + uint64(max(run, 1))
}

// frameWriter takes the frames of one run of a handler, or of an answer to a deferred stream.
type frameWriter struct {
	ctx    context.Context // the handler's: Send has none of its own
	cancel context.CancelCauseFunc
	t      *task
	f      *flow
	format exchange.Format
	ct     string

	mu       sync.Mutex
	stored   uint64
	returned bool
}

// withFrames returns the context of a run, with what takes its frames if it is a stream's, until the returned function is
// called.
func (a *Agent) withFrames(ctx context.Context, cancel context.CancelCauseFunc, t *task, run uint32) (context.Context, func(), error) {
	if t.h.d.Kind() != exchange.KindStream {
		return ctx, func() {}, nil
	}
	w, err := a.openFrames(ctx, cancel, t, run, t.h.policy.Resume == exchange.ContinueOnResume)
	if err != nil {
		return ctx, nil, err
	}
	return exchange.WithFrameWriter(ctx, w), w.close, nil
}

// openFrames returns what takes the frames of a run; with resume, those that come behind the ones that are stored.
func (a *Agent) openFrames(ctx context.Context, cancel context.CancelCauseFunc, t *task, run uint32, resume bool) (*frameWriter, error) {
	request, err := envelope.ParseContentType(t.rec.GetContentType())
	if err != nil {
		return nil, ack.Rejectf(ack.ValidationError, "%v", err)
	}
	format, _ := exchange.FormatOf(request.Media) // the request was decoded by it
	ct := envelope.ContentType{Media: envelope.Media(format)}
	if request.Method != "" {
		ct.Method, ct.Message, ct.Kind = request.Method, t.h.d.ReplyName(), envelope.KindFrame
	}
	s, err := a.buf.BeginStreamIn(t.seq(), runNumber(t.rec, run), resume)
	if err != nil {
		return nil, err
	}
	return &frameWriter{ctx: ctx, cancel: cancel, t: t, f: a.flow(t.rec, s, false), format: format, ct: ct.String(), stored: s.GetStored()}, nil
}

// Send implements exchange.FrameWriter.
func (w *frameWriter) Send(m proto.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.returned {
		return errHandlerReturned
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	a := w.t.a
	payload, err := envelope.Encode(m, w.format)
	if err != nil {
		return ack.Failf(ack.InternalError, "encode a frame: %v", err)
	}
	frame := &storagepb.Frame{Body: &storagepb.Body{ContentType: w.ct, Payload: payload}, MessageId: a.newID()}
	probe := a.frameEnvelope(w.t.rec, frame.GetBody(), w.f.run, w.stored+1, frame.GetMessageId())
	if err := envelope.Validate(probe, a.limits); err != nil {
		return ack.Failf(ack.CodeOf(err), "a frame of %s cannot be sent: %s", w.t.h.d.Name(), note(err))
	}
	if err := w.f.await(w.ctx, w.t); err != nil {
		if errors.Is(err, errDrain) {
			w.cancel(err) // it runs again at the next start, whatever it makes of the error
		}
		if w.ctx.Err() != nil {
			err = context.Cause(w.ctx)
		}
		return err
	}
	n, err := a.buf.FrameIn(a.base, w.t.seq(), w.f.run, frame)
	var full *ack.Error
	switch {
	case errors.Is(err, activity.ErrFinished):
		return errHandlerReturned // its timeout, or another answer, has recorded the outcome
	case errors.As(err, &full):
		return full
	case err != nil:
		a.failure("store a frame", err)
		return fmt.Errorf("store a frame: %w", err)
	}
	w.stored = n
	w.f.push(n)
	return nil
}

// Recorded implements exchange.FrameWriter.
func (w *frameWriter) Recorded() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.stored)
}

// Last implements exchange.FrameWriter.
func (w *frameWriter) Last() (proto.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stored == 0 {
		return nil, nil
	}
	f, err := w.t.a.buf.InFrame(w.t.seq(), w.f.run, w.stored)
	if err != nil {
		return nil, fmt.Errorf("read the last stored frame: %w", err)
	}
	return w.t.a.decodeReply(w.t.h.d, w.t.h.d.Name(), f.GetBody())
}

// close takes no more frames: the handler has returned.
func (w *frameWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returned = true
}

// frameEnvelope makes the transmission of a frame.
func (a *Agent) frameEnvelope(rec *storagepb.InRecord, body *storagepb.Body, run, n uint64, messageID string) *commonpb.Envelope {
	env := a.reverse(messageID, rec.GetCorrelationId(), resultType(rec), body.GetContentType(), body.GetPayload())
	if rec.GetToken() != "" {
		env.IdempotencyToken = envelope.FrameToken(rec.GetToken(), run, n)
	}
	return env
}

// paramLast is the parameter of the envelope that ends a stream: how many frames there are. It comes after the last of them
// and says what the outcome is.
const paramLast = "last"

// tellsEnd tells whether an agent that answered a request with frames says how many there are.
func tellsEnd(rec *storagepb.InRecord) bool { return windowOf(rec.GetContentType()) > 0 }

// streamEnd makes the envelope that ends a stream whose outcome is recorded.
func (a *Agent) streamEnd(rec *storagepb.InRecord, messageID string) (*commonpb.Envelope, error) {
	run, total := rec.GetStream().GetRun(), rec.GetStream().GetStored()
	if run == 0 { // it never ran
		run = runNumber(rec, rec.GetRuns())
	}
	o := rec.GetOutcome()
	request, _ := envelope.ParseContentType(rec.GetContentType())
	ct := envelope.ContentType{
		Media: envelope.MediaProtobuf, Message: string(proto.MessageName((*commonpb.Ack)(nil))), Method: request.Method,
		Kind: envelope.KindFrame, Extra: []envelope.Param{{Name: paramLast, Value: strconv.FormatUint(total, 10)}},
	}
	typ := resultType(rec)
	end := proto.Message(&commonpb.Ack{AckForMessageId: requestID(rec), AckStage: o.GetStage(), ErrorCode: o.GetCode(), Note: o.GetNote()})
	if isToolError(rec) {
		typ, end = commonpb.MessageType_TOOL_ERROR, toolError(rec)
		ct.Message = string(proto.MessageName(end))
		ct.Extra = append(ct.Extra, envelope.Param{Name: paramStage, Value: ack.Stage(o.GetStage()).String()})
	}
	payload, err := proto.Marshal(end)
	if err != nil {
		return nil, fmt.Errorf("encode the end of a stream: %w", err)
	}
	env := a.reverse(messageID, rec.GetCorrelationId(), typ, ct.String(), payload)
	if rec.GetToken() != "" {
		env.IdempotencyToken = envelope.FrameToken(rec.GetToken(), run, total+1)
	}
	return env, nil
}

// requestID is the id of the attempt that a message came with last.
func requestID(rec *storagepb.InRecord) string {
	for _, alias := range latest(rec.GetAliases()) {
		return alias.GetMessageId()
	}
	return ""
}
