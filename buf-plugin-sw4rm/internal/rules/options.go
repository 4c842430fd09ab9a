package rules

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/bufplugin/option"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Option is an option of the plugin in buf.yaml. Its value is a string. Those that there are mean what the parameters
// of protoc-gen-sw4rm with their names do, so that both judge a schema alike.
type Option struct {
	Name, Values, Meaning string
	set                   func(o *schema.Options, value string) bool
}

// Options returns the plugin's options.
func Options() []Option {
	return []Option{
		{"services", "annotated (the default), all", "which services are exchanges between agents: those with our option or an RPC that has it, or every one", setServices},
		{"only", "send, handle", "the side of the exchanges that is generated", setOnly},
		{"package_suffix", "SUFFIX of a-z 0-9 _", "the suffix of the package that code is generated into", setPackageSuffix},
	}
}

func setServices(o *schema.Options, value string) bool {
	o.AllServices = value == "all"
	return value == "all" || value == "annotated"
}

func setOnly(o *schema.Options, value string) bool {
	switch value {
	case "send":
		o.Only = schema.Send
	case "handle":
		o.Only = schema.Handle
	default:
		return false
	}
	return true
}

func setPackageSuffix(o *schema.Options, value string) bool {
	o.PackageSuffix = value
	return value != "" && strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// readOptions returns what the options say. The error has a line for each mistake.
func readOptions(options option.Options) (schema.Options, error) {
	var o schema.Options
	var mistakes []error
	known := make(map[string]Option)
	names := make([]string, 0, len(Options()))
	for _, k := range Options() {
		known[k.Name] = k
		names = append(names, k.Name)
	}
	options.Range(func(name string, value any) {
		k, ok := known[name]
		text, _ := value.(string)
		switch {
		case !ok:
			mistakes = append(mistakes, fmt.Errorf("unknown option %q. Fix: use %s", name, strings.Join(names, ", ")))
		case !k.set(&o, text):
			mistakes = append(mistakes, fmt.Errorf("option %s is %v. Fix: use %s", name, value, k.Values))
		}
	})
	return o, errors.Join(mistakes...)
}
