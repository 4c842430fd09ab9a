package plugin_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

var update = flag.Bool("update", false, "write the want.txt, log.txt and output.txt that are in golden/cases")

const (
	casesDir   = "../../golden/cases"
	modulePath = "github.com/sw4rm/sw4rm-go/"
	// casesPath is where the Go packages of schema cases are, each below c and its number.
	casesPath = modulePath + "golden/cases/"
)

// schemaCase is what comes of schemas.
type schemaCase struct {
	numbers []int
	name    string
	files   map[string]string
	// generate are the files to generate; all when nil.
	generate  []string
	parameter string
	// want is the error, empty for none.
	want string
	// log is what is written to the log.
	log string
	// output are the names of what is generated; nil when they do not matter.
	output []string
}

// folders reads golden/cases. A folder is named for the cases' numbers. Besides schemas it has parameter.txt, want.txt with
// the error, log.txt with the warnings, and output.txt with the names of what is generated, where these matter.
func folders(t *testing.T) []schemaCase {
	t.Helper()
	entries, err := os.ReadDir(casesDir)
	require.NoError(t, err)
	var cases []schemaCase
	for _, e := range entries {
		c := schemaCase{files: make(map[string]string)}
		words := strings.Split(e.Name(), "_")
		for len(words) > 0 {
			n, err := strconv.Atoi(words[0])
			if err != nil {
				break
			}
			c.numbers, words = append(c.numbers, n), words[1:]
		}
		c.name = strings.Join(words, "_")
		require.NoError(t, fs.WalkDir(os.DirFS(filepath.Join(casesDir, e.Name())), ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text := plugintest.ReadFile(t, filepath.Join(casesDir, e.Name(), p))
			switch p {
			case "parameter.txt":
				c.parameter = strings.TrimSpace(text)
			case "want.txt":
				c.want = strings.TrimSuffix(text, "\n")
				if c.want == "" {
					c.want = "an error"
				}
			case "log.txt":
				c.log = text
			case "output.txt":
				c.output = append([]string{}, strings.Fields(text)...)
			case "go.mod": // keeps the folder out of the module's zip file
			default:
				require.Equal(t, ".proto", path.Ext(p), p)
				c.files[p] = text
			}
			return nil
		}))
		cases = append(cases, c)
	}
	return cases
}

// folder returns the name of the case's folder in golden/cases.
func (c schemaCase) folder() string {
	var b strings.Builder
	for _, n := range c.numbers {
		fmt.Fprintf(&b, "%03d_", n)
	}
	return b.String() + c.name
}

// schemaCases generates the code of every case, compiles all of it at once, and returns what came of each.
func schemaCases(t *testing.T) []numbered {
	t.Helper()
	all := slices.Concat(folders(t), programs())
	code := make(map[string]string)
	results := make([]result, len(all))
	for i, c := range all {
		results[i] = generate(t, c)
		maps.Copy(code, results[i].code)
	}
	failures := compile(t, code)
	var cases []numbered
	for i, c := range all {
		cases = append(cases, numbered{numbers: c.numbers, name: c.name, run: func(t *testing.T) {
			t.Parallel()
			results[i].check(t, c)
			for _, n := range c.numbers {
				require.Empty(t, failures[n], "go build and go vet")
			}
		}})
	}
	return cases
}

// result is what came of a case.
type result struct {
	req  *pluginpb.CodeGeneratorRequest
	resp *pluginpb.CodeGeneratorResponse
	log  string
	// code is what is to be compiled, by file below casesPath.
	code map[string]string
}

func generate(t *testing.T, c schemaCase) result {
	t.Helper()
	files := c.generate
	if files == nil {
		files = slices.Sorted(maps.Keys(c.files))
	}
	r := result{req: plugintest.RequestFor(t, "../../proto", c.parameter, c.files, files...)}
	r.resp, r.log = plugintest.RunLog(t, r.req)
	if *update {
		rewrite(t, c, r)
	}
	if c.want != "" || r.resp.Error != nil {
		return r
	}
	// What is compiled stands in the folders of its packages.
	byImport := proto.Clone(r.req).(*pluginpb.CodeGeneratorRequest)
	byImport.Parameter = proto.String(regexp.MustCompile(`(paths|module|annotate_code)=[^,]*,?`).ReplaceAllString(c.parameter, ""))
	code := plugintest.Contents(plugintest.Run(t, byImport))
	byImport.FileToGenerate = slices.Sorted(maps.Keys(c.files)) // what is imported too
	r.code = make(map[string]string)
	for _, out := range []map[string]string{plugintest.Messages(t, byImport), code} {
		for name, content := range out {
			file, ok := strings.CutPrefix(name, casesPath)
			require.True(t, ok, "%s: go_package of %s is not below %s", c.name, name, casesPath)
			r.code[file] = content
		}
	}
	return r
}

func (r result) check(t *testing.T, c schemaCase) {
	t.Helper()
	require.Equal(t, c.want, r.resp.GetError())
	require.Equal(t, c.log, r.log)
	if c.output != nil {
		names := []string{}
		for _, f := range r.resp.GetFile() {
			names = append(names, f.GetName())
		}
		require.Equal(t, c.output, names)
	}
	if c.want == "" {
		stable(t, r.req, r.resp)
		return
	}
	require.Empty(t, r.resp.GetFile())
	reversed := proto.Clone(r.req).(*pluginpb.CodeGeneratorRequest)
	slices.Reverse(reversed.FileToGenerate)
	require.Equal(t, c.want, plugintest.Run(t, reversed).GetError())
}

// stable holds the files in resp to what any generated code must be, and to be the same once more, in any order, for one
// folder at a time and for one file at a time.
func stable(t *testing.T, req *pluginpb.CodeGeneratorRequest, resp *pluginpb.CodeGeneratorResponse) {
	t.Helper()
	require.Empty(t, resp.GetError())
	packages := plugintest.Packages(t, req)
	for _, f := range resp.GetFile() {
		if path.Ext(f.GetName()) == ".go" {
			plugintest.Clean(t, f.GetName(), f.GetContent(), packages)
		}
	}
	require.True(t, proto.Equal(resp, plugintest.Run(t, req)), "a second run differs")
	all := plugintest.Contents(resp)
	for i, part := range []func(file string) string{
		path.Dir,
		func(file string) string { return file },
	} {
		parts := make(map[string][]string)
		for _, f := range req.GetFileToGenerate() {
			parts[part(f)] = append(parts[part(f)], f)
		}
		got := make(map[string]string)
		for _, files := range parts {
			alone := proto.Clone(req).(*pluginpb.CodeGeneratorRequest)
			slices.Reverse(files)
			alone.FileToGenerate = files
			alone.SourceFileDescriptors = nil // older compilers send none
			if i == 0 {
				alone.SourceFileDescriptors = slices.DeleteFunc(slices.Clone(req.GetSourceFileDescriptors()), func(f *descriptorpb.FileDescriptorProto) bool {
					return !slices.Contains(files, f.GetName())
				})
			}
			maps.Copy(got, plugintest.Contents(plugintest.Run(t, alone)))
		}
		require.Equal(t, all, got)
	}
}

// compile builds and vets files of the module golden/cases, which is nowhere but here, and returns what is wrong by case.
func compile(t *testing.T, files map[string]string) map[int][]string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	mod := plugintest.ReadFile(t, filepath.Join(root, "go.mod"))
	mod = strings.Replace(mod, "module "+strings.TrimSuffix(modulePath, "/"), "module "+strings.TrimSuffix(casesPath, "/"), 1)
	mod, _, _ = strings.Cut(mod, "\ntool ")
	module := strings.TrimSuffix(modulePath, "/")
	mod += fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %s\n", module, module, root)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), []byte(plugintest.ReadFile(t, filepath.Join(root, "go.sum"))), 0o600))
	for file, content := range files {
		file = filepath.Join(dir, filepath.FromSlash(file))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	failures := make(map[int][]string)
	for _, command := range []string{"build", "vet"} {
		// Without the folder's name in it, what is built is found in the cache the next time.
		cmd := exec.CommandContext(t.Context(), "go", command, "-trimpath", "./...")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		found := false
		for line := range bytes.Lines(out) {
			if m := regexp.MustCompile(`\bc(\d{3})\b`).FindSubmatch(line); m != nil {
				n, _ := strconv.Atoi(string(m[1]))
				failures[n] = append(failures[n], command+": "+string(line))
				found = true
			}
		}
		require.True(t, err == nil || found, "go %s: %v\n%s", command, err, out)
	}
	return failures
}

func rewrite(t *testing.T, c schemaCase, r result) {
	t.Helper()
	var names strings.Builder
	for _, f := range r.resp.GetFile() {
		names.WriteString(f.GetName() + "\n")
	}
	for file, text := range map[string]string{"want.txt": r.resp.GetError() + "\n", "log.txt": r.log, "output.txt": names.String()} {
		file = filepath.Join(casesDir, c.folder(), file)
		if _, err := os.Stat(file); err == nil {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
	}
}
