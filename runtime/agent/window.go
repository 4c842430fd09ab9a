package agent

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// paramWindow is the parameter by which a request says that its sender tells how far it has read the frames, and that the
// handler may be so many ahead. Peers that do not know of it get frames as fast as the router takes them.
const paramWindow = "window"

// requestParams are the parameters of a request's content type.
func requestParams(out *exchange.Outgoing) []envelope.Param {
	params := overrides(out)
	if out.Exchange.Kind() == exchange.KindStream {
		params = append(params, envelope.Param{Name: paramWindow, Value: strconv.Itoa(exchange.FrameWindow)})
	}
	return params
}

// announcedWindow is the window of a request, 0 when it announces none.
func announcedWindow(out *exchange.Outgoing) uint32 {
	if out.Exchange.Kind() != exchange.KindStream || out.Policy.ContentType != "" {
		return 0
	}
	return exchange.FrameWindow
}

// windowOf returns the window that a request's content type announces, 0 for none.
func windowOf(contentType string) uint64 {
	ct, err := envelope.ParseContentType(contentType)
	if err != nil || ct.Message == "" {
		return 0
	}
	n, _ := strconv.ParseUint(param(ct, paramWindow), 10, 32)
	return n
}

// param returns a parameter besides those that name exchanges, "" when it is not there.
func param(ct envelope.ContentType, name string) string {
	for _, p := range ct.Extra {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// receiveWindow takes what the reader of a stream says.
func (a *Agent) receiveWindow(d inbound) {
	defer a.settled(d)
	env := d.GetEnvelope()
	w, err := parseWindow(env)
	if err != nil {
		a.log.Warn("what the reader of a stream says cannot be read", "from", env.GetProducerId(), "error", err)
		return
	}
	f, err := a.toldFlow(env.GetProducerId(), w)
	if err != nil {
		a.failure("find the request of a stream", err)
	} else if f != nil {
		f.told(w)
	}
}

// toldFlow returns the flow that a reader speaks of, nil when there is none.
func (a *Agent) toldFlow(reader string, w *transportpb.StreamWindow) (*flow, error) {
	if w.GetTo() == "" { // it does not know of the request
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, f := range a.flows {
			if f.rec.GetFrom() == reader && f.rec.GetToken() == w.GetToken() && f.run == w.GetRun() {
				return f, nil
			}
		}
		return nil, nil
	}
	rec, err := a.buf.InByToken(reader, w.GetTo(), w.GetToken())
	if errors.Is(err, activity.ErrUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := a.existingFlow(rec.GetSequence())
	if f == nil && w.GetMissing() && rec.GetStream() != nil {
		f = a.finishedFlow(rec)
	}
	if f != nil && f.run != w.GetRun() {
		return nil, nil
	}
	return f, nil
}

// finishedFlow returns a flow for frames that are sent again after they were all sent. Nothing keeps it.
func (a *Agent) finishedFlow(rec *storagepb.InRecord) *flow {
	s := rec.GetStream()
	return &flow{
		a: a, rec: rec, run: s.GetRun(), stored: s.GetStored(), sent: s.GetStored(), noted: s.GetStored(), read: s.GetStored(),
		changed: make(chan struct{}),
	}
}

// windowMessage is the message by which a reader says how far it is.
const windowMessage = "sw4rm.transport.v1.StreamWindow"

func (a *Agent) windowEnvelope(correlation string, w *transportpb.StreamWindow) (*commonpb.Envelope, error) {
	payload, err := proto.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode a window: %w", err)
	}
	ct := envelope.ContentType{Media: envelope.MediaProtobuf, Message: windowMessage, Kind: envelope.KindWindow}
	return a.reverse(a.newID(), correlation, commonpb.MessageType_CONTROL, ct.String(), payload), nil
}

func parseWindow(env *commonpb.Envelope) (*transportpb.StreamWindow, error) {
	ct, err := envelope.ParseContentType(env.GetContentType())
	if err != nil {
		return nil, err
	}
	w := new(transportpb.StreamWindow)
	if ct.Message != windowMessage {
		return nil, fmt.Errorf("it is a %q, not a %s", ct.Message, windowMessage)
	}
	if err := envelope.Decode(ct.Media, env.GetPayload(), w); err != nil {
		return nil, err
	}
	return w, nil
}

// tellClosed tells the sender of frames that none are taken any more.
func (a *Agent) tellClosed(rec *storagepb.OutRecord, from string, run uint64) {
	w := &transportpb.StreamWindow{Token: rec.GetToken(), To: rec.GetTo(), Run: run, Closed: true}
	key := closedKey{from, rec.GetTo(), rec.GetToken(), run}
	env, err := a.windowEnvelope(rec.GetCorrelationId(), w)
	build := func() (*commonpb.Envelope, error) { return env, err }
	a.sendOnce(key, transportpb.Class_CLASS_ANSWER, from, build, func(string) {}) // the next frame is answered so, too
}

// tell tells the sender how far the frames are read, when that is news to it, or with force. What changes before the
// router has taken the one message is told with the next.
func (o *operation) tell(force, missing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &o.reading
	if o.draining() {
		r.read = max(r.read, r.frames.GetStored())
	}
	if o.rec.GetWindow() == 0 || r.frames == nil || done(o.rec) || !force && r.read < r.told+tellEvery {
		return
	}
	r.missing = r.missing || missing
	r.toTell = true
	if !r.telling {
		r.telling = true
		o.submitWindow()
	}
}

// submitWindow makes a message ready that says how far the frames are when it is sent. The lock is held.
func (o *operation) submitWindow() {
	a, i := o.a, &item{class: transportpb.Class_CLASS_ANSWER, order: o.a.order.Add(1), due: func() {}}
	i.build = func(session) *transportpb.Submit {
		rec, from, w := o.window()
		env, err := a.windowEnvelope(rec.GetCorrelationId(), w)
		if err != nil {
			a.log.Error("cannot tell how far a stream is read", "to", from, "error", err)
			a.outbox.remove(i)
			return nil
		}
		return a.submission(from, env)
	}
	i.answered = func(*transportpb.Answer, string) { // a refusal, too: the handler reminds this agent
		a.outbox.remove(i)
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.reading.telling = o.reading.toTell && !done(o.rec); o.reading.telling {
			o.submitWindow()
		}
	}
	a.outbox.add(i)
}

// window returns what is to be told now, and to whom.
func (o *operation) window() (*storagepb.OutRecord, string, *transportpb.StreamWindow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &o.reading
	w := &transportpb.StreamWindow{
		Token: o.rec.GetToken(), To: o.rec.GetTo(), Run: r.frames.GetRun(), Stored: r.frames.GetStored(), Read: r.read, Missing: r.missing,
	}
	r.told, r.toTell, r.missing = r.read, false, false
	return o.rec, r.frames.GetFrom(), w
}
