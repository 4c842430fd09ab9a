package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// Parameter is one of the settings that buf passes as opt, and protoc as --sw4rm_opt.
type Parameter struct {
	// Name stands before the equals sign. FILE in it is the path of a schema.
	Name string
	// Values are what may stand after it.
	Values string
	// Default is what holds without it, empty for nothing.
	Default string
	// Meaning says what it does.
	Meaning string

	// set is nil for the parameters that every plugin of this kind has.
	set func(s *settings, value string) bool
}

// settings are what the parameters say.
type settings struct {
	schema schema.Options
	// debug prints the stack of an internal error.
	debug bool
	// annotate is protogen's annotate_code.
	annotate bool
}

// Parameters returns all parameters, ours first.
func Parameters() []Parameter {
	return []Parameter{
		{"services", "annotated, all", "annotated", "generate services that have our option, or an RPC that does; or every service", setServices},
		{"only", "send, handle", "", "generate callers and senders only, or handlers only; descriptors of exchanges come with both", setOnly},
		{"package_suffix", "SUFFIX of a-z 0-9 _", "", "generate into a package below that of the messages, named like it with this suffix", setPackageSuffix},
		{"debug", "true, false", "false", "print the stack of an internal error", setDebug},
		{"paths", "import, source_relative", "import", "name files after the Go import path, or after the schema", nil},
		{"module", "PREFIX", "", "leave this prefix out of file names", nil},
		{"annotate_code", "true, false", "false", "write .meta files that lead from generated declarations to the schema", setAnnotate},
		{"default_api_level", "API_OPEN, API_HYBRID, API_OPAQUE", "", "as protoc-gen-go was told", nil},
		{"MFILE", "PATH or PATH;NAME", "", "the Go package of a schema, in place of its go_package", nil},
		{"apilevelMFILE", "API_OPEN, API_HYBRID, API_OPAQUE", "", "as protoc-gen-go was told for one schema", nil},
	}
}

func setServices(s *settings, value string) bool {
	s.schema.AllServices = value == "all"
	return value == "all" || value == "annotated"
}

func setOnly(s *settings, value string) bool {
	sides := map[string]schema.Side{"send": schema.Send, "handle": schema.Handle}
	side, ok := sides[value]
	s.schema.Only = side
	return ok
}

func setPackageSuffix(s *settings, value string) bool {
	s.schema.PackageSuffix = value
	return value != "" && strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// setDebug takes a value of "" too: the parameter may stand alone.
func setDebug(s *settings, value string) bool {
	s.debug = value != "false"
	return value == "" || value == "true" || value == "false"
}

// setAnnotate leaves it to protogen to judge the value.
func setAnnotate(s *settings, value string) bool {
	s.annotate = value == "" || value == "true"
	return true
}

// parse reads our parameters; the others are left to protogen. The error has a line for each mistake.
func parse(parameter string) (settings, error) {
	var s settings
	var mistakes []error
	seen := make(map[string]bool)
	for _, p := range strings.Split(parameter, ",") {
		name, value, _ := strings.Cut(p, "=")
		if name == "" {
			continue
		}
		if seen[name] {
			mistakes = append(mistakes, fmt.Errorf("parameter %s is there twice. Fix: leave one of them out", name))
			continue
		}
		seen[name] = true
		switch known, ok := find(name); {
		case !ok:
			mistakes = append(mistakes, fmt.Errorf("unknown parameter %q. Fix: use %s", name, names()))
		case known.set != nil && !known.set(&s, value):
			mistakes = append(mistakes, fmt.Errorf("parameter %s is %q. Fix: use %s", name, value, known.choices()))
		}
	}
	return s, errors.Join(mistakes...)
}

// find returns the parameter with the given name.
func find(name string) (Parameter, bool) {
	all := Parameters()
	i := slices.IndexFunc(all, func(p Parameter) bool {
		before, forFile := strings.CutSuffix(p.Name, "FILE")
		return name == p.Name || forFile && strings.HasPrefix(name, before)
	})
	if i < 0 {
		return Parameter{}, false
	}
	return all[i], true
}

func names() string {
	var all []string
	for _, p := range Parameters() {
		all = append(all, p.Name)
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

// choices returns how the parameter is written.
func (p Parameter) choices() string {
	var all []string
	for _, v := range strings.Split(p.Values, ", ") {
		if v == p.Default {
			all = append(all, p.Name+"="+v+" (the default)")
		} else {
			all = append(all, p.Name+"="+v)
		}
	}
	return strings.Join(all, " or ")
}
