package router

import (
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// turned has the conversations of one stream in which a message was refused that the agent will submit again. What the agent
// had submitted behind it, before it heard of that, must not be accepted first.
type turned map[string]turn

// turn is the first refusal of a conversation.
type turn struct {
	sequence uint64
	answer   queue.Answer
}

// mostTurned is how many conversations are kept, before those go whose message has ended since, or else all.
const mostTurned = 4096

func conversation(s *transportpb.Submit) string {
	return s.GetTo() + " " + s.GetEnvelope().GetCorrelationId()
}

// refuses returns the answer for a message that comes too early.
func (t turned) refuses(s *transportpb.Submit) (queue.Answer, bool) {
	if len(t) == 0 || s.GetClass() != transportpb.Class_CLASS_WORK {
		return queue.Answer{}, false
	}
	key := conversation(s)
	first, ok := t[key]
	switch sequence := s.GetEnvelope().GetSequenceNumber(); {
	case !ok || sequence < first.sequence:
		return queue.Answer{}, false
	case s.GetAfterRefusal() || sequence == first.sequence:
		delete(t, key)
		return queue.Answer{}, false
	default:
		return first.answer, true
	}
}

// note keeps a refusal, where the agent will submit the message again.
func (t *turned) note(s *transportpb.Submit, a queue.Answer) {
	if s.GetClass() != transportpb.Class_CLASS_WORK || !a.Code.Temporary() {
		return
	}
	if *t == nil {
		*t = turned{}
	}
	if len(*t) >= mostTurned {
		for key, first := range *t {
			if first.sequence < s.GetLowestOpen() {
				delete(*t, key)
			}
		}
	}
	if len(*t) >= mostTurned {
		clear(*t)
	}
	(*t)[conversation(s)] = turn{s.GetEnvelope().GetSequenceNumber(), a}
}
