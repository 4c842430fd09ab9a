package router

import (
	"context"
	"sync"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

const (
	// A batch of frames ends at either limit, and holds at least one frame. Beside the largest envelope it stays below
	// what gRPC clients receive.
	maxBatchFrames = 256
	maxBatchBytes  = 1 << 20

	// maxControl is how many answers wait to be written; who has more to say waits.
	maxControl = 1024
	// frameOverhead is roughly what a frame adds to an envelope.
	frameOverhead = 512
)

// classes is one more than the largest class, for arrays by class.
const classes = int(transportpb.Class_CLASS_SIGNAL) + 1

// outbox holds what waits to be written to one stream: answers, and deliveries by class. Whoever fills it keeps within
// the bounds of his class; the outbox has none of its own for deliveries.
type outbox struct {
	control chan *transportpb.RouterFrame
	ready   chan struct{}
	closed  chan struct{}

	mu         sync.Mutex
	deliveries [classes][]queue.Delivery
	bytes      [classes]int64
	final      *transportpb.RouterFrame
	isClosed   bool
}

func newOutbox() *outbox {
	return &outbox{
		control: make(chan *transportpb.RouterFrame, maxControl),
		ready:   make(chan struct{}, 1),
		closed:  make(chan struct{}),
	}
}

// say adds an answer, and waits while there are too many.
func (o *outbox) say(ctx context.Context, f *transportpb.RouterFrame) {
	select {
	case o.control <- f:
	case <-ctx.Done():
	}
}

// deliver adds deliveries of one class.
func (o *outbox) deliver(class transportpb.Class, ds []queue.Delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isClosed {
		return
	}
	for _, d := range ds {
		o.bytes[class] += d.Bytes
	}
	o.deliveries[class] = append(o.deliveries[class], ds...)
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// waiting returns how many deliveries of a class are not written yet.
func (o *outbox) waiting(class transportpb.Class) (messages int, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.deliveries[class]), o.bytes[class]
}

// close drops the deliveries that are not written yet, and makes final, which may be nil, the last frame.
func (o *outbox) close(final *transportpb.RouterFrame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isClosed {
		return
	}
	o.isClosed, o.final = true, final
	o.deliveries, o.bytes = [classes][]queue.Delivery{}, [classes]int64{}
	close(o.closed)
}

// next waits for frames and returns a batch; false says that there are no more. Answers come first, then the classes
// that others wait for.
func (o *outbox) next(ctx context.Context) ([]*transportpb.RouterFrame, bool) {
	for {
		var batch []*transportpb.RouterFrame
		for len(batch) < maxBatchFrames {
			select {
			case f := <-o.control:
				batch = append(batch, f)
				continue
			default:
			}
			break
		}
		if batch = o.take(batch); len(batch) > 0 {
			return batch, true
		}
		select {
		case f := <-o.control:
			return o.take([]*transportpb.RouterFrame{f}), true
		case <-o.ready:
		case <-o.closed:
			if batch := o.last(); len(batch) > 0 {
				return batch, true
			}
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
	}
}

// take fills a batch with deliveries.
func (o *outbox) take(batch []*transportpb.RouterFrame) []*transportpb.RouterFrame {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := int64(0)
	for class := transportpb.Class_CLASS_SIGNAL; class >= transportpb.Class_CLASS_WORK; class-- {
		list := o.deliveries[class]
		for len(list) > 0 && len(batch) < maxBatchFrames {
			d := list[0]
			if size += d.Bytes + frameOverhead; size > maxBatchBytes && len(batch) > 0 {
				o.deliveries[class] = list
				return batch
			}
			batch = append(batch, deliveryFrame(d))
			list[0] = queue.Delivery{}
			list = list[1:]
			o.bytes[class] -= d.Bytes
		}
		o.deliveries[class] = list
	}
	return batch
}

// last returns what is left to write after close.
func (o *outbox) last() []*transportpb.RouterFrame {
	var batch []*transportpb.RouterFrame
	for {
		select {
		case f := <-o.control:
			batch = append(batch, f)
			continue
		default:
		}
		break
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.final != nil {
		batch = append(batch, o.final)
		o.final = nil
	}
	return batch
}

func deliveryFrame(d queue.Delivery) *transportpb.RouterFrame {
	return &transportpb.RouterFrame{Frame: &transportpb.RouterFrame_Delivery{Delivery: &transportpb.Delivery{
		Seq: d.Seq, To: d.To, Class: d.Class, Envelope: d.Envelope,
	}}}
}
