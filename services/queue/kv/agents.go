package kv

import (
	"time"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// keepShare is the share of the time for which an agent is kept that may pass before its end is written again: an agent
// that connects often costs no write each time.
const keepShare = 30

// keepAgent records i as its agent's instance, for as long as agents are kept, from now on.
func (c *change) keepAgent(agent string, i instance, now time.Time) error {
	e := c.e
	if i.expiresMs > 0 {
		c.batch.Delete(expiryKey(i.expiresMs, kindInstance, agent))
	}
	i.expiresMs = e.forgetAgentMs(now)
	c.batch.Set(expiryKey(i.expiresMs, kindInstance, agent), nil)
	c.then = append(c.then, func(store.Mark) {
		e.instances[agent] = i
		e.noteAgents()
	})
	return c.put(instanceKey(agent), i.record())
}

// forgetAgentMs is when an agent that is there now may be forgotten.
func (e *Engine) forgetAgentMs(now time.Time) int64 {
	return max(now.Add(e.limits.KeepAgents).UnixMilli(), e.prunedMs+1)
}

// seen keeps a known agent for longer, once it is worth a write.
func (c *change) seen(agent string, i instance, now time.Time) error {
	left := c.e.forgetAgentMs(now) - i.expiresMs
	if time.Duration(left)*time.Millisecond < c.e.limits.KeepAgents/keepShare {
		return nil
	}
	return c.keepAgent(agent, i, now)
}

// expireAgent forgets an agent, unless it is there, or something is still to be done for it.
func (e *Engine) expireAgent(c *change, agent string, ms int64, now time.Time, connected func(string) bool) error {
	i, ok := e.instances[agent]
	if !ok || i.expiresMs != ms {
		return nil
	}
	if connected(agent) || i.untold || e.waitsFor(agent) {
		return c.keepAgent(agent, i, now)
	}
	c.batch.Delete(instanceKey(agent))
	c.forgetMark(producerKey{agent, i.store})
	c.then = append(c.then, func(store.Mark) { delete(e.instances, agent) })
	return nil
}

// waitsFor tells whether the agent has leases, or messages wait for it.
func (e *Engine) waitsFor(agent string) bool {
	if len(e.leased[agent]) > 0 {
		return true
	}
	for _, class := range []transportpb.Class{
		transportpb.Class_CLASS_WORK, transportpb.Class_CLASS_ANSWER, transportpb.Class_CLASS_SIGNAL,
	} {
		if e.queueLen(agentQueue(class, agent)) > 0 {
			return true
		}
	}
	return false
}
