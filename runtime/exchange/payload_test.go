package exchange_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

type text = wrapperspb.StringValue

const textName = "google.protobuf.StringValue"

func TestPayloadIsNamedByItsMessage(t *testing.T) {
	d := exchange.NewPayload[text](textName, exchange.Notification).Descriptor()
	require.NoError(t, d.Validate())
	assert.True(t, d.Standalone())
	assert.Equal(t, exchange.KindOneWay, d.Kind())
	assert.Equal(t, exchange.Notification, d.Policy().MessageType)
	assert.False(t, exchange.NewOneWay[text]("a.v1.S/M").Descriptor().Standalone())

	for _, name := range []string{"acme.v1.Other", "", "/", "a/", "/b", "a.S/" + strings.Repeat("x", 300)} {
		err := exchange.NewPayload[text](name).Descriptor().Validate()
		assert.ErrorContains(t, err, "neither package.Service/Method nor that of the message "+textName, "%q", name)
	}
}

func TestContentTypeDecidesTheFormat(t *testing.T) {
	for contentType, format := range map[string]exchange.Format{
		"application/json":     exchange.JSON,
		"application/protobuf": exchange.Protobuf,
		"application/vnd.sw4rm.scheduler.command+json;v=1": exchange.JSON,
		"Application/Vnd.X+Protobuf":                       exchange.Protobuf,
	} {
		p := exchange.NewOneWay[text]("a.S/M", exchange.ContentType(contentType)).Descriptor().Policy()
		require.NoError(t, p.Validate())
		assert.Equal(t, contentType, p.ContentType, "sent as it is")
		assert.Equal(t, format, p.Format)
	}
	for contentType, problem := range map[string]string{
		"text/plain":                     "neither protobuf nor JSON",
		"application/":                   "type/subtype",
		`application/json; method="a/b"`: "parameter method",
		"application/json; TO=agent":     "parameter to",
		"application/json; v=1; V=2":     "parameter v twice",
		"application/json; v=\"":         "closing quote",
		strings.Repeat("x", 2000) + "/y": "2002 bytes",
		// What MIME allows, and agents cannot read.
		`application/json; v="a\"b"`:                        `'\\'`,
		`application/json; v="é"`:                           "in the value of v",
		"application/json; v=" + strings.Repeat("x", 300):   "300 bytes",
		"application/json; v=1" + strings.Repeat(" ", 1100): "1121 bytes",
		"application/json; v=1 (a comment)":                 "where a semicolon belongs",
	} {
		policy := exchange.NewOneWay[text]("a.S/M", exchange.ContentType(contentType)).Descriptor().Policy()
		err := policy.Validate()
		assert.ErrorContains(t, err, problem, contentType)
		assert.ErrorContains(t, err, "Fix: ", contentType)
		assert.Less(t, len(err.Error()), 512)
	}
	p := exchange.NewOneWay[text]("a.S/M", exchange.ContentType("application/protobuf"), exchange.JSON).Descriptor().Policy()
	assert.ErrorContains(t, p.Validate(), "another format")
}

// keeper keeps what is sent through it.
type keeper struct{ out *exchange.Outgoing }

func (k *keeper) Send(_ context.Context, out *exchange.Outgoing) (exchange.Operation, error) {
	k.out = out
	return nil, nil
}

func (k *keeper) Resume(context.Context, *exchange.Descriptor, exchange.Ref) (exchange.Operation, error) {
	return nil, exchange.ErrUnknownRef
}

// sent returns the message as it is sent with the options.
func sent(t *testing.T, x *exchange.OneWay[*text], opts ...exchange.SendOption) *exchange.Outgoing {
	t.Helper()
	k := &keeper{}
	_, err := x.Send(t.Context(), exchange.NewClient(k, address.Agent("a")), wrapperspb.String("x"), opts...)
	require.NoError(t, err)
	return k.out
}

func TestEverySettingCanBeGivenForOneCall(t *testing.T) {
	tests := map[string]struct {
		option exchange.SendOption
		get    func(exchange.Policy) any
		want   any
	}{
		"acknowledgement timeout": {exchange.AckTimeout(time.Second), func(p exchange.Policy) any { return p.AckTimeout }, time.Second},
		"reply timeout":           {exchange.ReplyTimeout(time.Minute), func(p exchange.Policy) any { return p.ReplyTimeout }, time.Minute},
		"deadline":                {exchange.Deadline(time.Hour), func(p exchange.Policy) any { return p.Deadline }, time.Hour},
		"time to live":            {exchange.TTL(time.Second), func(p exchange.Policy) any { return p.TTL }, time.Second},
		"handler timeout":         {exchange.HandlerTimeout(time.Second), func(p exchange.Policy) any { return p.HandlerTimeout }, time.Second},
		"attempts":                {exchange.MaxAttempts(7), func(p exchange.Policy) any { return p.Retry.MaxAttempts }, 7},
		"first backoff":           {exchange.Backoff(2, 4, 3), func(p exchange.Policy) any { return p.Retry.InitialBackoff }, time.Duration(2)},
		"largest backoff":         {exchange.Backoff(2, 4, 3), func(p exchange.Policy) any { return p.Retry.MaxBackoff }, time.Duration(4)},
		"multiplier":              {exchange.Backoff(2, 4, 3), func(p exchange.Policy) any { return p.Retry.Multiplier }, 3.0},
		"codes":                   {exchange.RetryOn(ack.NoRoute), func(p exchange.Policy) any { return p.Retry.Codes }, []ack.Code{ack.NoRoute}},
		"no codes":                {exchange.RetryOn(), func(p exchange.Policy) any { return p.Retry.Codes }, []ack.Code(nil)},
		"format":                  {exchange.JSON, func(p exchange.Policy) any { return p.Format }, exchange.JSON},
		"content type":            {exchange.ContentType("a/b+json"), func(p exchange.Policy) any { return p.ContentType }, "a/b+json"},
		"message type":            {exchange.Control, func(p exchange.Policy) any { return p.MessageType }, exchange.Control},
		"order":                   {exchange.OrderAgent, func(p exchange.Policy) any { return p.Order }, exchange.OrderAgent},
		"resume":                  {exchange.ContinueOnResume, func(p exchange.Policy) any { return p.Resume }, exchange.ContinueOnResume},
		"idempotency":             {exchange.Idempotent(), func(p exchange.Policy) any { return p.Idempotency }, exchange.ByContent},
	}
	x := exchange.NewOneWay[text]("a.S/M", exchange.HandlerTimeout(time.Hour), exchange.TTL(time.Hour))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, test.get(sent(t, x, test.option).Policy))
			assert.NotEqual(t, test.want, test.get(x.Descriptor().Policy()), "the exchange keeps its own")
		})
	}
	assert.Zero(t, sent(t, x, exchange.TTL(0)).Policy.TTL, "zero is a setting too")
}

// TestPoliciesThatCannotBeKept names the setting, its bound and what to do.
func TestPoliciesThatCannotBeKept(t *testing.T) {
	x := exchange.NewOneWay[text]("a.S/M")
	for problem, option := range map[string]exchange.SendOption{
		"TTL -1s is below 0s. Fix: use at least that":                                                   exchange.TTL(-time.Second),
		"0 attempts are below 1. Fix: use at least 1, which is no retry":                                exchange.MaxAttempts(0),
		"backoff multiplier 0.5 is not between 1 and 1000. Fix: use one that is":                        exchange.Backoff(time.Second, time.Minute, 0.5),
		"message type 77 is not one that an exchange may have. Fix: use a constant of package exchange": exchange.MessageType(77),
	} {
		assert.EqualError(t, sent(t, x, option).Policy.Validate(), problem)
	}
}

func TestUnknownChoicesAreNamed(t *testing.T) {
	x := exchange.NewOneWay[text]("a.S/M")
	for problem, option := range map[string]exchange.SendOption{
		"order 9 is unknown":       exchange.Order(9),
		"order 0 is unknown":       exchange.Order(0),
		"resume -1 is unknown":     exchange.Resume(-1),
		"format 2 is unknown":      exchange.Format(2),
		"idempotency 2 is unknown": exchange.Idempotency(2),
		"message type 3 is not":    exchange.MessageType(3),
	} {
		assert.ErrorContains(t, sent(t, x, option).Policy.Validate(), problem)
	}
	require.NoError(t, sent(t, x).Policy.Validate())
}

func TestContentKeysOfOneCall(t *testing.T) {
	plain := exchange.NewOneWay[text]("a.S/M")
	byLength := exchange.IdempotentBy(func(m *text, k *exchange.Key) { k.Int(1, int64(len(m.GetValue()))) })
	keyed := exchange.NewOneWay[text]("a.S/M", byLength)
	key := func(out *exchange.Outgoing) string {
		b, err := out.ContentKey()
		require.NoError(t, err)
		return string(b)
	}
	whole := key(sent(t, plain, exchange.Idempotent()))
	assert.NotEmpty(t, whole)
	assert.Equal(t, whole, key(sent(t, keyed, exchange.Idempotent())), "the call's key counts")
	assert.Equal(t, key(sent(t, keyed)), key(sent(t, plain, byLength)))
	assert.NotEqual(t, whole, key(sent(t, keyed)))

	out := sent(t, keyed, exchange.EachCall)
	assert.Equal(t, exchange.EachCall, out.Policy.Idempotency)
	_, err := sent(t, plain).ContentKey()
	require.ErrorContains(t, err, "a.S/M has no content key")
	other := exchange.IdempotentBy(func(*wrapperspb.BytesValue, *exchange.Key) {})
	_, err = sent(t, plain, other).ContentKey()
	require.ErrorContains(t, err, "does not take a")
}

var _ proto.Message = (*text)(nil)
