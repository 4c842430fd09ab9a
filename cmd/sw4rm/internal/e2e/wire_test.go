package e2e

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// wire notes what the router and the agents have told each other: what was accepted, and who is answerable for it.
type wire struct {
	history *history.Writer

	mu        sync.Mutex
	stores    map[string]string // of agents
	submitted map[string]letter // by agent and number, until it is answered
	delivered map[string]letter // by agent and seq
	work      map[string]letter // by message id
}

// letter is what is to be remembered of a message.
type letter struct{ key, token, message, to string }

func newWire(h *history.Writer) *wire {
	return &wire{
		history: h, stores: map[string]string{}, submitted: map[string]letter{}, delivered: map[string]letter{},
		work: map[string]letter{},
	}
}

// letterOf reads a message of a class; ok is false for what is not work of the test.
func letterOf(class transportpb.Class, to string, e *commonpb.Envelope) (l letter, ok bool) {
	var key wrapperspb.StringValue
	if class != transportpb.Class_CLASS_WORK || proto.Unmarshal(e.GetPayload(), &key) != nil {
		return l, false
	}
	return letter{key: key.GetValue(), token: e.GetIdempotencyToken(), message: e.GetMessageId(), to: to}, true
}

func (l letter) event(op history.Op, kind history.Kind) history.Event {
	return history.Event{Op: op, Kind: kind, Key: l.key, Token: l.token, Message: l.message, To: l.to}
}

// Sent implements relay.Observer.
func (w *wire) Sent(agent string, f *transportpb.AgentFrame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := f.GetFrame().(type) {
	case *transportpb.AgentFrame_Hello:
		w.stores[agent] = f.Hello.GetStoreId()
	case *transportpb.AgentFrame_Submit:
		w.handedOver(agent, f.Submit)
	}
}

func (w *wire) handedOver(agent string, s *transportpb.Submit) {
	e := s.GetEnvelope()
	if l, ok := letterOf(s.GetClass(), s.GetTo(), e); ok {
		w.submitted[numbered(agent, s.GetN())] = l
		return
	}
	if e.GetMessageType() != commonpb.MessageType_ACKNOWLEDGEMENT {
		return
	}
	a, err := ack.Parse(e.GetContentType(), e.GetPayload())
	l, known := w.work[a.ForMessageID]
	if err != nil || !a.Stage.Terminal() || !known {
		return
	}
	end := l.event(history.Custody, history.Return)
	end.Store, end.Stage, end.Code = w.stores[agent], a.Stage.String(), a.Code.String()
	w.history.Add(end)
}

// Told implements relay.Observer.
func (w *wire) Told(agent string, f *transportpb.RouterFrame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := f.GetFrame().(type) {
	case *transportpb.RouterFrame_Answer:
		n := numbered(agent, f.Answer.GetN())
		if l, ok := w.submitted[n]; ok && f.Answer.GetState() != transportpb.Answer_STATE_REFUSED {
			e := l.event(history.Accept, history.Info)
			e.Note = f.Answer.GetState().String()
			w.history.Add(e)
		}
		delete(w.submitted, n)
	case *transportpb.RouterFrame_Delivery:
		if l, ok := letterOf(f.Delivery.GetClass(), f.Delivery.GetTo(), f.Delivery.GetEnvelope()); ok {
			w.delivered[numbered(agent, uint64(f.Delivery.GetSeq()))] = l
			w.work[l.message] = l
		}
	case *transportpb.RouterFrame_AckAnswer:
		n := numbered(agent, uint64(f.AckAnswer.GetSeq()))
		if l, ok := w.delivered[n]; ok && f.AckAnswer.GetRecorded() {
			e := l.event(history.Custody, history.Call)
			e.Store = w.stores[agent]
			w.history.Add(e)
		}
		delete(w.delivered, n)
	}
}

func numbered(agent string, n uint64) string { return fmt.Sprintf("%s %d", agent, n) }
