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
func (a *Agent) receiveWindow(d *transportpb.Delivery) {
	defer a.settled(d)
	env := d.GetEnvelope()
	w, err := parseWindow(env)
	if err != nil {
		a.log.Warn("what the reader of a stream says cannot be read", "from", env.GetProducerId(), "error", err)
		return
	}
	rec, err := a.buf.InByToken(env.GetProducerId(), w.GetTo(), w.GetToken())
	if err != nil {
		if !errors.Is(err, activity.ErrUnknown) {
			a.failure("find the request of a stream", err)
		}
		return
	}
	f := a.existingFlow(rec.GetSequence())
	if f == nil && w.GetMissing() && rec.GetStream().GetRun() == w.GetRun() {
		f = a.finishedFlow(rec)
	}
	if f != nil && f.run == w.GetRun() {
		f.told(w)
	}
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

// tell tells the sender of a stream's frames how far this agent is.
func (a *Agent) tell(rec *storagepb.OutRecord, from string, w *transportpb.StreamWindow) {
	w.Token, w.To = rec.GetToken(), rec.GetTo()
	env, err := a.windowEnvelope(rec.GetCorrelationId(), w)
	if err != nil {
		a.log.Error("cannot tell how far a stream is read", "error", err)
		return
	}
	a.sendOnce(transportpb.Class_CLASS_ANSWER, from, env, func(string) {}) // the handler reminds this agent
}
