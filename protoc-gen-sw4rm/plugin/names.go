package plugin

import (
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/pluginpb"
)

// suffix ends the name of every generated file.
const suffix = "_sw4rm.pb.go"

// outputName returns the name of the file to write beside prefix.pb.go. The go command reads the part of a file's name
// before the first dot for systems and architectures; one that stands there is kept out of our name, and warned about,
// since the message file has it too.
func outputName(prefix string, log io.Writer) string {
	dir, base := path.Split(prefix)
	first, _, dotted := strings.Cut(base, ".")
	if word := first[strings.LastIndexByte(first, '_')+1:]; word != first && slices.Contains(strings.Fields(constraints), word) {
		_, _ = fmt.Fprintf(log, "protoc-gen-sw4rm: warning: %s.pb.go is compiled for %s only, because of its name. Fix: rename the schema\n", prefix, word)
		if dotted {
			base = strings.ReplaceAll(base, ".", "_")
		}
	}
	return dir + base + suffix
}

// constraints are the words that the go command knows at the end of a file's name.
const constraints = `aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris
	wasip1 windows zos 386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32
	mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm`

// checkNames refuses files that would leave the output folder or overwrite each other.
func checkNames(files []*pluginpb.CodeGeneratorResponse_File) error {
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		name := f.GetName()
		code := strings.TrimSuffix(name, ".meta")
		switch {
		case !filepath.IsLocal(name) || path.Clean(name) != name || strings.ContainsFunc(name, outlaw) || !strings.HasSuffix(code, suffix):
			return fmt.Errorf("output file %q would not be inside the output folder. Fix: use a go_package and a file name without .. and special characters", name)
		case seen[name]:
			return fmt.Errorf("output file %q would be written twice. Fix: rename one of the schemas, or use paths=source_relative", name)
		}
		seen[name] = true
	}
	return nil
}

func outlaw(r rune) bool {
	return r == '\\' || r == ':' || !unicode.IsPrint(r)
}
