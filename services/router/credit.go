package router

import (
	"sync"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Credit beyond these adds up to no more.
const (
	maxCreditMessages = 1 << 20
	maxCreditBytes    = 1 << 40
)

// credit is how much of each class an agent is ready to take. Bytes may go below zero: the last message may be larger
// than what was left.
type credit struct {
	mu       sync.Mutex
	messages [classes]int
	bytes    [classes]int64
}

// add enters more credit; that of an unknown class does not count.
func (c *credit) add(k *transportpb.Credit) {
	class := k.GetClass()
	if class < transportpb.Class_CLASS_WORK || class > transportpb.Class_CLASS_SIGNAL {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages[class] = min(c.messages[class]+int(min(k.GetMessages(), maxCreditMessages)), maxCreditMessages)
	c.bytes[class] = min(c.bytes[class]+int64(min(k.GetBytes(), maxCreditBytes)), maxCreditBytes)
}

func (c *credit) left(class transportpb.Class) (messages int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.messages[class], c.bytes[class]
}

func (c *credit) spend(class transportpb.Class, ds []queue.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages[class] -= len(ds)
	for _, d := range ds {
		c.bytes[class] -= d.Bytes
	}
}

func stageOf(s ack.Stage) commonpb.AckStage { return commonpb.AckStage(s) }

func codeOf(c ack.Code) commonpb.ErrorCode { return commonpb.ErrorCode(c) }
