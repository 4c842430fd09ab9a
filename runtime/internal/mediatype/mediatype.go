// Package mediatype reads content types by the one rule that holds for what is received and for what a schema or program
// wants to send.
package mediatype

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// MaxLength is the largest length of a content type in bytes.
	MaxLength = 1 << 10
	// MaxParam is the largest length of a parameter's value in bytes.
	MaxParam = 256
)

// Short returns as much of a content type as an error shows.
func Short(s string) string {
	if len(s) <= MaxParam {
		return s
	}
	return s[:MaxParam] + "…"
}

type param struct{ name, value string }

// Parse returns the media type of a content type, and calls set for each parameter, in their order. Media type and names come
// out in lower case; values are quoted ASCII without " and \, or tokens. problem says why it cannot be read, in words that
// follow "content type X"; it is empty when it can.
func Parse(s string, set func(name, value string)) (media, problem string) {
	if len(s) > MaxLength {
		return "", fmt.Sprintf("has %d bytes, more than %d", len(s), MaxLength)
	}
	media, rest, more := strings.Cut(s, ";")
	media = strings.ToLower(trim(media))
	kind, sub, ok := strings.Cut(media, "/")
	if !ok || !isToken(kind) || !isToken(sub) {
		return "", "does not begin with type/subtype"
	}
	seen := make([]string, 0, 8)
	for more {
		rest = trim(rest)
		if rest == "" { // many writers end with a semicolon
			break
		}
		p, after, problem := parseParam(rest)
		if problem != "" {
			return "", problem
		}
		if slices.Contains(seen, p.name) {
			return "", fmt.Sprintf("has the parameter %s twice", p.name)
		}
		seen = append(seen, p.name)
		set(p.name, p.value)
		rest, more = trim(after), false
		if rest != "" {
			if rest[0] != ';' {
				return "", fmt.Sprintf("has %q where a semicolon belongs", rest[0])
			}
			rest, more = rest[1:], true
		}
	}
	return media, ""
}

// parseParam reads name=value from the beginning of s, and returns what follows it.
func parseParam(s string) (p param, rest, problem string) {
	name, value, ok := strings.Cut(s, "=")
	name = strings.ToLower(trim(name))
	if !ok || !isToken(name) {
		return p, "", "has a parameter that is not name=value"
	}
	value = trim(value)
	if strings.HasPrefix(value, `"`) {
		end := strings.IndexByte(value[1:], '"')
		if end < 0 {
			return p, "", fmt.Sprintf("has no closing quote after %s", name)
		}
		value, rest = value[1:1+end], value[end+2:]
		for i := range len(value) {
			if c := value[i]; c < ' ' || c > '~' || c == '\\' {
				return p, "", fmt.Sprintf("has %q in the value of %s", c, name)
			}
		}
	} else {
		if end := strings.IndexAny(value, "; \t"); end >= 0 {
			value, rest = value[:end], value[end:]
		}
		// Peers write methods and addresses without quotes.
		if !isTokenWith(value, ":/") {
			return p, "", fmt.Sprintf("has a value of %s that is neither quoted nor a token", name)
		}
	}
	if len(value) > MaxParam {
		return p, "", fmt.Sprintf("has a value of %s with %d bytes, more than %d", name, len(value), MaxParam)
	}
	return param{name, value}, rest, ""
}

func trim(s string) string { return strings.Trim(s, " \t") }

// isToken tells whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool { return isTokenWith(s, "") }

// isTokenWith is isToken with more characters.
func isTokenWith(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0, strings.IndexByte(more, c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
