package agent

import (
	"sync"

	"google.golang.org/protobuf/proto"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
)

const (
	// maxBatchFrames and maxBatchBytes bound one ConnectRequest; a larger frame travels alone.
	maxBatchFrames = 256
	maxBatchBytes  = 1 << 20
)

// frameQueue collects the frames of a stream, so that those that come while one batch is written leave in the next. What
// may be in it is bounded by the submission window and by the deliveries' credit.
type frameQueue struct {
	mu     sync.Mutex
	frames []*transportpb.AgentFrame
	credit map[transportpb.Class]*transportpb.Credit
	ready  chan struct{}
}

func newFrameQueue() *frameQueue {
	return &frameQueue{credit: map[transportpb.Class]*transportpb.Credit{}, ready: make(chan struct{}, 1)}
}

func (q *frameQueue) push(f *transportpb.AgentFrame) {
	q.mu.Lock()
	q.frames = append(q.frames, f)
	q.mu.Unlock()
	q.wake()
}

// grant adds to the credit that the next batch carries.
func (q *frameQueue) grant(class transportpb.Class, messages uint32, bytes uint64) {
	q.mu.Lock()
	c := q.credit[class]
	if c == nil {
		c = &transportpb.Credit{Class: class}
		q.credit[class] = c
	}
	c.Messages += messages
	c.Bytes += bytes
	q.mu.Unlock()
	q.wake()
}

func (q *frameQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns the next batch, nil when there is none, and whether more is waiting.
func (q *frameQueue) take() (batch []*transportpb.AgentFrame, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for class, c := range q.credit {
		batch = append(batch, &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Credit{Credit: c}})
		delete(q.credit, class)
	}
	n, size := 0, 0
	for ; n < len(q.frames) && n < maxBatchFrames; n++ {
		size += proto.Size(q.frames[n])
		if n > 0 && size > maxBatchBytes {
			break
		}
	}
	batch = append(batch, q.frames[:n]...)
	clear(q.frames[:n])
	q.frames = q.frames[n:]
	if len(q.frames) == 0 {
		q.frames = nil
	}
	return batch, len(q.frames) > 0
}
