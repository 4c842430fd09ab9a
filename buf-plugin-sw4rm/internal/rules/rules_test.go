package rules_test

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"buf.build/go/bufplugin/check"
	"buf.build/go/bufplugin/check/checktest"
	"buf.build/go/bufplugin/descriptor"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/rules"
)

var update = flag.Bool("update", false, "write the findings into testdata/*/want.txt")

// root is the repository's root.
const root = "../../.."

// example is the folder of the example's schemas.
const example = "../../example/proto"

// schemas are the folder of a schema, and of the one it is compared with if there is one.
type schemas struct{ now, before string }

// cases have the schemas by the folder in testdata.
func cases() map[string]schemas {
	return map[string]schemas{
		"lint":     {now: "testdata/lint"},
		"invalid":  {now: "testdata/invalid"},
		"breaking": {now: "testdata/breaking/after", before: "testdata/breaking/before"},
	}
}

func TestSpec(t *testing.T) {
	t.Parallel()
	checktest.SpecTest(t, rules.Spec())
}

func TestFindings(t *testing.T) {
	t.Parallel()
	for name, s := range cases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := check.RuleTypeLint
			if s.before != "" {
				kind = check.RuleTypeBreaking
			}
			got := found(t, checkAll(t, request(t, s, kind, nil)))
			want := filepath.Join("testdata", name, "want.txt")
			if *update {
				require.NoError(t, os.WriteFile(want, []byte(got), 0o644))
			}
			b, err := os.ReadFile(want)
			require.NoError(t, err, "run go test ./internal/rules -update")
			require.Equal(t, string(b), got, "run go test ./internal/rules -update, and read the difference")
		})
	}
}

// Every rule has a violation among the cases.
func TestEveryRuleFinds(t *testing.T) {
	t.Parallel()
	if *update {
		t.Skip("the findings are being written")
	}
	all := ""
	for name := range cases() {
		b, err := os.ReadFile(filepath.Join("testdata", name, "want.txt"))
		require.NoError(t, err)
		all += string(b)
	}
	for _, r := range rules.Spec().Rules {
		require.True(t, strings.Contains(all, ": "+r.ID+": "), "give %s a violation in testdata", r.ID)
	}
}

func TestExampleIsClean(t *testing.T) {
	t.Parallel()
	for _, kind := range []check.RuleType{check.RuleTypeLint, check.RuleTypeBreaking} {
		require.Empty(t, found(t, checkAll(t, request(t, schemas{now: example, before: example}, kind, nil))))
	}
}

// An unchanged schema breaks nothing, however wrong it is.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"testdata/lint", "testdata/breaking/before", "testdata/breaking/after"} {
		got := found(t, checkAll(t, request(t, schemas{now: dir, before: dir}, check.RuleTypeBreaking, nil)))
		for line := range strings.Lines(got) {
			if !strings.HasPrefix(line, "\t") {
				require.Contains(t, line, ": SW4RM_SCHEMA_COMPARABLE: ", dir)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "a.proto", `syntax = "proto3";
package a;
service Plain {
  rpc Talk(stream Message) returns (Message);
}
message Message {}
`)
	write(t, dir, "clash.proto", `syntax = "proto3";
package a;
import "sw4rm/options/v1/options.proto";
service Reader {
  option (sw4rm.options.v1.agent) = {};
}
message ReaderCaller {}
`)
	const (
		stream = "a.proto:4:12: SW4RM_SCHEMA_VALID: a.Plain.Talk is a client stream"
		clash  = "clash.proto:4:9: SW4RM_SCHEMA_VALID: service a.Reader generates the Go name ReaderCaller"
	)
	for _, c := range []struct {
		options map[string]any
		want    []string
	}{
		{nil, []string{clash}},
		{map[string]any{"services": "annotated", "only": "send"}, []string{clash}},
		{map[string]any{"only": "handle"}, nil},
		{map[string]any{"package_suffix": "sw4rm"}, nil},
		{map[string]any{"services": "all"}, []string{stream, clash}},
	} {
		var got []string
		for line := range strings.Lines(found(t, checkAll(t, request(t, schemas{now: dir}, check.RuleTypeLint, c.options)))) {
			line, _, _ = strings.Cut(line, ",")
			got = append(got, line)
		}
		require.Equal(t, c.want, got, c.options)
	}
	for _, c := range []struct {
		options map[string]any
		want    string
	}{
		{map[string]any{"services": "some"}, "option services is some. Fix: use annotated (the default), all"},
		{map[string]any{"services": true}, "option services is true. Fix: use annotated (the default), all"},
		{map[string]any{"only": "both"}, "option only is both. Fix: use send, handle"},
		{map[string]any{"package_suffix": "A-B"}, "option package_suffix is A-B. Fix: use SUFFIX of a-z 0-9 _"},
		{map[string]any{"service": "all"}, `unknown option "service". Fix: use services, only, package_suffix`},
	} {
		client, err := check.NewClientForSpec(rules.Spec())
		require.NoError(t, err)
		_, err = client.Check(t.Context(), request(t, schemas{now: dir}, check.RuleTypeLint, c.options))
		require.ErrorContains(t, err, c.want)
	}
}

// request compiles schemas into a request for all rules of a kind.
func request(t testing.TB, s schemas, kind check.RuleType, options map[string]any) check.Request {
	t.Helper()
	spec := &checktest.RequestSpec{Files: files(t, s.now), Options: options}
	if s.before != "" {
		spec.AgainstFiles = files(t, s.before)
	}
	for _, r := range rules.Spec().Rules {
		if r.Type == kind {
			spec.RuleIDs = append(spec.RuleIDs, r.ID)
		}
	}
	req, err := spec.ToRequest(t.Context())
	require.NoError(t, err)
	return req
}

// files are the schemas below a folder, which may import the options.
func files(t testing.TB, dir string) *checktest.ProtoFileSpec {
	t.Helper()
	spec := &checktest.ProtoFileSpec{DirPaths: []string{dir, filepath.Join(root, "proto")}}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".proto" {
			rel, err := filepath.Rel(dir, path)
			spec.FilePaths = append(spec.FilePaths, filepath.ToSlash(rel))
			return err
		}
		return err
	}))
	return spec
}

func checkAll(t testing.TB, req check.Request) []check.Annotation {
	t.Helper()
	client, err := check.NewClientForSpec(rules.Spec())
	require.NoError(t, err)
	resp, err := client.Check(t.Context(), req)
	require.NoError(t, err)
	return resp.Annotations()
}

// found writes a line for each finding, and below it where its cause is in the schema that was compared with.
func found(t testing.TB, annotations []check.Annotation) string {
	t.Helper()
	annotations = slices.SortedFunc(slices.Values(annotations), func(a, b check.Annotation) int {
		x, y := a.FileLocation(), b.FileLocation()
		if x == nil || y == nil {
			return cmp.Or(cmp.Compare(location(x), location(y)), cmp.Compare(a.Message(), b.Message()))
		}
		return cmp.Or(
			cmp.Compare(path(x), path(y)),
			cmp.Compare(x.StartLine(), y.StartLine()),
			cmp.Compare(x.StartColumn(), y.StartColumn()),
			cmp.Compare(a.RuleID(), b.RuleID()),
			cmp.Compare(a.Message(), b.Message()),
		)
	})
	var b strings.Builder
	for _, a := range annotations {
		fmt.Fprintf(&b, "%s: %s: %s\n", location(a.FileLocation()), a.RuleID(), a.Message())
		if a.AgainstFileLocation() != nil {
			fmt.Fprintf(&b, "\twas %s\n", location(a.AgainstFileLocation()))
		}
	}
	return b.String()
}

func path(l descriptor.FileLocation) string {
	return l.FileDescriptor().ProtoreflectFileDescriptor().Path()
}

// location writes a place as buf does.
func location(l descriptor.FileLocation) string {
	if l == nil {
		return "<input>:1:1"
	}
	return fmt.Sprintf("%s:%d:%d", path(l), l.StartLine()+1, l.StartColumn()+1)
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}
