package kv

import (
	"slices"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// maxHandouts is how many deliveries of a row are remembered: the first one and the latest. A named agent that loses its
// connection again and again does not use up the budget, so there may be many.
const maxHandouts = 16

// withHandout returns a row's deliveries with one more.
func (r *row) withHandout(h queue.Holder, now time.Time) []*storagepb.QueueDelivery {
	list := slices.Clone(r.handouts)
	if len(list) >= maxHandouts {
		list = slices.Delete(list, 1, 2)
	}
	return append(list, &storagepb.QueueDelivery{Agent: h.Agent, At: now.UnixNano()})
}

// ended notes how the last delivery has ended, unless it is known. It tells people only, so it may stay when the change that
// it belongs to fails. Records are never changed, since others may read them.
func (r *row) ended(how storagepb.QueueDelivery_End, now time.Time) {
	last := len(r.handouts) - 1
	if last < 0 || r.handouts[last].GetEnd() != storagepb.QueueDelivery_END_UNSPECIFIED {
		return
	}
	was := r.handouts[last]
	r.handouts = slices.Clone(r.handouts)
	r.handouts[last] = &storagepb.QueueDelivery{Agent: was.GetAgent(), At: was.GetAt(), EndedAt: now.UnixNano(), End: how}
}

// ends are the words for how deliveries end.
var ends = map[storagepb.QueueDelivery_End]string{
	storagepb.QueueDelivery_END_UNSPECIFIED: "",
	storagepb.QueueDelivery_END_LEASE:       "the lease ran out",
	storagepb.QueueDelivery_END_STREAM:      "the agent's stream ended",
	storagepb.QueueDelivery_END_RESTART:     "the router started anew, and had not noted it",
	storagepb.QueueDelivery_END_REFUSED:     "the agent refused it",
	storagepb.QueueDelivery_END_SILENT:      "the lease ran out, and the agent was silent",
}

func handoutsOf(list []*storagepb.QueueDelivery) []queue.Handout {
	var out []queue.Handout
	for _, d := range list {
		h := queue.Handout{Agent: d.GetAgent(), At: time.Unix(0, d.GetAt()), End: ends[d.GetEnd()]}
		if d.GetEndedAt() != 0 {
			h.EndedAt = time.Unix(0, d.GetEndedAt())
		}
		out = append(out, h)
	}
	return out
}
