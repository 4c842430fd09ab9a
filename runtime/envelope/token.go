package envelope

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/sw4rm/sw4rm-go/runtime/address"
)

// MaxToken is the largest length of an idempotency token in bytes.
const MaxToken = 512

// What the token of a reply and of a frame adds to its request's.
const (
	replySuffix = ":response:v1"
	framePart   = ":frame:"
	frameSuffix = ":v1"
)

// NewID returns a new UUIDv4, for message and correlation ids.
func NewID() string { return uuid.NewString() }

// CheckID returns an *address.Error unless id has 1 to 128 of the characters A-Z a-z 0-9 . _ : - and begins with a letter
// or digit. what names the id in the error.
func CheckID(what, id string) error { return address.CheckName(what, id) }

// TokenError says why there is no token for a producer and an operation.
type TokenError struct{ Problem string }

// Error implements error.
func (e *TokenError) Error() string { return "idempotency token: " + e.Problem }

// Token returns the portable idempotency token producer:operation:hash, where hash is the first 16 hexadecimal digits of
// SHA-256 over producer LF operation LF canonical (SW4RM spec 11.2, profile bytes-v1). A producer or operation with a
// line feed, an empty one, and a token above MaxToken bytes are a *TokenError.
func Token(producer, operation string, canonical []byte) (string, error) {
	for _, p := range []struct{ what, value string }{{"producer", producer}, {"operation", operation}} {
		switch {
		case p.value == "":
			return "", &TokenError{Problem: "the " + p.what + " is empty"}
		case strings.Contains(p.value, "\n"):
			return "", &TokenError{Problem: fmt.Sprintf("the %s %q has a line feed", p.what, p.value)}
		}
	}
	h := sha256.New()
	h.Write([]byte(producer))
	h.Write([]byte{'\n'})
	h.Write([]byte(operation))
	h.Write([]byte{'\n'})
	h.Write(canonical)
	token := producer + ":" + operation + ":" + hex.EncodeToString(h.Sum(nil)[:8])
	if len(token) > MaxToken {
		return "", &TokenError{Problem: fmt.Sprintf("producer and operation give %d bytes, more than %d", len(token), MaxToken)}
	}
	return token, nil
}

// ReplyToken returns the token of the reply to the request with the given token.
func ReplyToken(request string) string { return request + replySuffix }

// RequestToken returns the token of the request that a reply's token names, false when it names none.
func RequestToken(reply string) (string, bool) {
	request, ok := strings.CutSuffix(reply, replySuffix)
	if !ok || request == "" {
		return "", false
	}
	return request, true
}

// FrameToken returns the token of the n-th frame, from 1, of a run of the handler of the request with the given token.
func FrameToken(request string, run, n uint64) string {
	return request + framePart + strconv.FormatUint(run, 10) + "." + strconv.FormatUint(n, 10) + frameSuffix
}

// ParseFrameToken returns what a frame's token names, false when it names no frame.
func ParseFrameToken(frame string) (request string, run, n uint64, ok bool) {
	head, ok := strings.CutSuffix(frame, frameSuffix)
	at := strings.LastIndex(head, framePart)
	if !ok || at <= 0 {
		return "", 0, 0, false
	}
	r, number, ok := strings.Cut(head[at+len(framePart):], ".")
	if !ok {
		return "", 0, 0, false
	}
	run, err := strconv.ParseUint(r, 10, 64)
	if err != nil {
		return "", 0, 0, false
	}
	if n, err = strconv.ParseUint(number, 10, 64); err != nil || n == 0 {
		return "", 0, 0, false
	}
	return head[:at], run, n, true
}
