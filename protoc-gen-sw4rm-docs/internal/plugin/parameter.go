package plugin

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// parameters are what the user asks for.
type parameters struct {
	formats  []string
	services string
	version  string
}

// The formats, in the order in which they are written.
const (
	markdownFormat   = "markdown"
	jsonSchemaFormat = "jsonschema"
	asyncAPIFormat   = "asyncapi"
	mcpFormat        = "mcp"
	a2aFormat        = "a2a"
)

func formats() []string {
	return []string{markdownFormat, jsonSchemaFormat, asyncAPIFormat, mcpFormat, a2aFormat}
}

const allServices = "all"

// noVersion is the version of schemas that the user gives none.
const noVersion = "0.0.0"

// maxVersion is the longest version in bytes.
const maxVersion = 128

// parse reads the parameters, separated by commas. Within one, a plus separates values.
func parse(s string) (parameters, error) {
	p := parameters{formats: formats(), version: noVersion}
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if seen[name] {
			return p, fmt.Errorf("parameter %s is there twice. Fix: leave one of them out", name)
		}
		var err error
		switch name {
		case "formats":
			p.formats, err = parseFormats(value)
		case "services":
			p.services = value
			if value != allServices && value != "annotated" {
				err = fmt.Errorf("parameter services is %q. Fix: use services=annotated (the default) or services=all", value)
			}
		case "version":
			p.version = value
			if value == "" || len(value) > maxVersion || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
				err = fmt.Errorf("parameter version is %q. Fix: write 1 to %d printable characters, such as version=1.2.0", value, maxVersion)
			}
		default:
			err = fmt.Errorf("unknown parameter %q. Fix: use formats, services or version", name)
		}
		if err != nil {
			return p, err
		}
		seen[name] = true
	}
	return p, nil
}

func parseFormats(value string) ([]string, error) {
	asked := strings.Split(value, "+")
	for i, f := range asked {
		if !slices.Contains(formats(), f) {
			return nil, fmt.Errorf("unknown format %q. Fix: use formats=%s, or some of them", f, strings.Join(formats(), "+"))
		}
		if slices.Contains(asked[:i], f) {
			return nil, fmt.Errorf("format %s is there twice. Fix: leave one of them out", f)
		}
	}
	return asked, nil
}
