package agenttest

import (
	"math"

	"google.golang.org/protobuf/proto"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// Exchange is what generated code has for each exchange, such as ReviewerExchanges.Review.
type Exchange[Req proto.Message] interface {
	Descriptor() *exchange.Descriptor
	NewRequest() Req
}

// Sent returns the messages of an exchange that were sent through s so far, oldest first. s is an agent or a Fake. An
// agent's come out of its activity buffer: those of an earlier process on the same store are among them, operations are
// listed once however many attempts they took, and what retention has removed is not there. A closed or crashed agent has
// none; ask the one that was reopened.
func Sent[Req proto.Message](s exchange.Sender, x Exchange[Req]) []Req {
	switch s := s.(type) {
	case *agent.Agent:
		return stored(s.Buffer(), x, func(r activity.Record) (uint64, bool) {
			return r.Out.GetSequence(), r.Out != nil && r.Out.GetExchange() == x.Descriptor().Name()
		}, s.Buffer().OutBody)
	case *Fake:
		return kept(s.list(false), x)
	default:
		return nil
	}
}

// Handled returns the messages of an exchange whose handler was started by r so far, in the order in which they came. r is
// an agent or a Fake; for agents, the rules of Sent apply.
func Handled[Req proto.Message](r exchange.Registrar, x Exchange[Req]) []Req {
	switch r := r.(type) {
	case *agent.Agent:
		return stored(r.Buffer(), x, func(rec activity.Record) (uint64, bool) {
			return rec.In.GetSequence(), rec.In.GetExchange() == x.Descriptor().Name() && rec.In.GetRuns() > 0
		}, r.Buffer().InBody)
	case *Fake:
		return kept(r.list(true), x)
	default:
		return nil
	}
}

// stored decodes the records that pick chooses.
func stored[Req proto.Message](b *activity.Buffer, x Exchange[Req], pick func(activity.Record) (uint64, bool), body func(uint64) (*storagepb.Body, error)) []Req {
	recs, err := b.Recent(math.MaxInt)
	if err != nil {
		return nil
	}
	var out []Req
	for _, r := range recs {
		seq, ok := pick(r)
		if !ok {
			continue
		}
		stored, err := body(seq)
		if err != nil {
			continue // not kept any more
		}
		req := x.NewRequest()
		if envelope.Decode(stored.GetContentType(), stored.GetPayload(), req) == nil {
			out = append(out, req)
		}
	}
	return out
}

// kept picks the messages of an exchange out of a Fake's.
func kept[Req proto.Message](messages []*exchange.Outgoing, x Exchange[Req]) []Req {
	var out []Req
	for _, m := range messages {
		if req, ok := m.Message.(Req); ok && m.Exchange.Name() == x.Descriptor().Name() {
			out = append(out, proto.CloneOf(req))
		}
	}
	return out
}
