package kv

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/services/queue"
)

// Bounds of what a submission may carry.
const (
	maxMessageID = 256
	maxToken     = 4096
	maxStore     = 256
	maxNote      = 1024
	// maxDeadline and maxTTL keep times representable.
	maxDeadline = 10 * 365 * 24 * time.Hour
	maxTTL      = 100 * 365 * 24 * time.Hour
)

// submission is a valid message with what follows from it alone.
type submission struct {
	queue.Message
	id       string
	retry    uint32
	sequence uint64
	key      tokenKey
	body     []byte
	ttl      time.Duration
}

// check returns the submission, or why it is none. It needs no lock.
func (e *Engine) check(m queue.Message) (*submission, *queue.Answer) {
	env := m.Envelope
	if env == nil {
		return nil, invalid("the message has no envelope")
	}
	if id := env.GetMessageId(); id == "" || len(id) > maxMessageID {
		return nil, invalid(fmt.Sprintf("message_id has %d bytes: 1 to %d are possible", len(id), maxMessageID))
	}
	if n := len(env.GetIdempotencyToken()); n > maxToken {
		return nil, invalid(fmt.Sprintf("idempotency_token has %d bytes: at most %d are possible", n, maxToken))
	}
	if _, err := address.Parse(m.To); err != nil {
		return nil, invalid(err.Error())
	}
	if err := checkHolder(m.From); err != nil {
		return nil, invalid(err.Error())
	}
	switch m.Class {
	case transportpb.Class_CLASS_WORK, transportpb.Class_CLASS_ANSWER, transportpb.Class_CLASS_SIGNAL:
	default:
		return nil, invalid(fmt.Sprintf("class %d is none of work, answer and signal", m.Class))
	}
	if m.Ends != nil && !m.Ends.Stage.Terminal() {
		return nil, invalid(fmt.Sprintf("stage %v ends nothing", m.Ends.Stage))
	}
	body, err := proto.Marshal(env)
	if err != nil {
		return nil, invalid(fmt.Sprintf("encode the envelope: %v", err))
	}
	m.At = e.at(m.At)
	return &submission{
		Message:  m,
		id:       env.GetMessageId(),
		retry:    env.GetRetryCount(),
		sequence: env.GetSequenceNumber(),
		key:      newTokenKey(m.From.Agent, m.To, env.GetIdempotencyToken(), env.GetMessageId()),
		body:     body,
		ttl:      ttlOf(env),
	}, nil
}

// ttlOf returns how long an envelope may live, 0 without limit.
func ttlOf(env *commonpb.Envelope) time.Duration {
	if ms := env.GetTtlMs(); ms < uint64(maxTTL/time.Millisecond) {
		return time.Duration(ms) * time.Millisecond
	}
	return 0
}

func checkHolder(h queue.Holder) error {
	if err := address.CheckName("agent id", h.Agent); err != nil {
		return err
	}
	if len(h.Store) > maxStore || strings.IndexByte(h.Store, 0) >= 0 {
		return fmt.Errorf("the store id of agent %s has %d bytes or a zero byte: up to %d bytes without zero are possible", h.Agent, len(h.Store), maxStore)
	}
	return nil
}

func (s *submission) queue() queueKey { return queueKey{s.Class, s.To} }

func (s *submission) producer() producerKey { return producerKey{s.From.Agent, s.From.Store} }

// row returns the row in which the submission waits in q.
func (s *submission) row(seq int64, q queueKey) *row {
	r := &row{
		seq:       seq,
		queue:     q,
		to:        s.To,
		producer:  s.From.Agent,
		messageID: s.id,
		retry:     s.retry,
		accepted:  s.At,
		ttl:       s.ttl,
		bytes:     int64(len(s.body)),
	}
	if r.work() {
		r.token = s.key
	}
	return r
}

func agentQueue(class transportpb.Class, agent string) queueKey {
	return queueKey{class, address.Agent(agent).String()}
}

func refused(code ack.Code, format string, args ...any) *queue.Answer {
	return &queue.Answer{State: transportpb.Answer_STATE_REFUSED, Code: code, Note: fmt.Sprintf(format, args...)}
}

func invalid(note string) *queue.Answer { return refused(ack.ValidationError, "%s", note) }

func state(s transportpb.Answer_State) *queue.Answer { return &queue.Answer{State: s} }

// shorten bounds a note that somebody else wrote, and makes it valid text for a record.
func shorten(note string) string {
	if len(note) > maxNote {
		note = note[:maxNote]
	}
	return strings.ToValidUTF8(note, "")
}
