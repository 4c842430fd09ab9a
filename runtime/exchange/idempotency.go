package exchange

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Idempotency says what makes two calls the same operation. As an option, EachCall undoes a content key.
type Idempotency int

// What makes two calls the same operation.
const (
	// EachCall makes each call its own operation, however equal the payloads.
	EachCall Idempotency = iota
	// ByContent makes calls with the same key, computed from the payload, the same operation. Idempotent and IdempotentBy
	// set it.
	ByContent
)

func (i Idempotency) applyExchange(d *Descriptor) { d.policy.Idempotency = i }
func (i Idempotency) applySend(out *Outgoing)     { out.Policy.Idempotency = i }

// keyFunc writes what of a message makes two calls the same operation.
type keyFunc func(m proto.Message, k *Key) error

// KeyOption is an Option of an exchange and a SendOption of one call.
type KeyOption struct{ key keyFunc }

func (o KeyOption) applyExchange(d *Descriptor) { d.policy.Idempotency, d.key = ByContent, o.key }
func (o KeyOption) applySend(out *Outgoing)     { out.Policy.Idempotency, out.key = ByContent, o.key }

// Idempotent makes calls with equal payloads the same operation: within the deduplication window a repeated call to the
// same address gets the recorded outcome.
func Idempotent() KeyOption {
	return KeyOption{func(m proto.Message, k *Key) error {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode the payload: %w", err)
		}
		k.Bytes(1, b)
		return nil
	}}
}

// IdempotentBy makes calls that agree in what key writes the same operation.
func IdempotentBy[Q any, Req Message[Q]](key func(Req, *Key)) KeyOption {
	return KeyOption{func(m proto.Message, k *Key) error {
		req, ok := m.(Req)
		if !ok || key == nil {
			return fmt.Errorf("the key function does not take a %T", m)
		}
		key(req, k)
		return nil
	}}
}

// ContentKey returns the canonical bytes of m's content key. It is an error to ask an exchange that has none.
func (d *Descriptor) ContentKey(m proto.Message) ([]byte, error) { return contentKey(d, d.key, m) }

// ContentKey returns the canonical bytes of the message's content key, by the call's own key function if it has one. It
// is an error to ask when there is none.
func (out *Outgoing) ContentKey() ([]byte, error) {
	if out.key != nil {
		return contentKey(out.Exchange, out.key, out.Message)
	}
	return out.Exchange.ContentKey(out.Message)
}

func contentKey(d *Descriptor, key keyFunc, m proto.Message) ([]byte, error) {
	if key == nil {
		return nil, fmt.Errorf("%s has no content key", d.name)
	}
	var k Key
	if err := key(m, &k); err != nil {
		return nil, fmt.Errorf("content key of %s: %w", d.name, err)
	}
	return k.Encoding(), nil
}
