package schema

import (
	slashpath "path"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// packageOf returns where the code for f belongs. The go command reads the part of a file's name before the first dot
// for systems and architectures; one that stands there is kept out of our name, and warned about, since the message file
// has it too.
func (c *checker) packageOf(f *protogen.File) Package {
	p := Package{Path: f.GoImportPath, Name: f.GoPackageName}
	dir, base := slashpath.Split(f.GeneratedFilenamePrefix)
	first, _, dotted := strings.Cut(base, ".")
	if words := constraintsOf(first); len(words) > 0 {
		c.warn(Position{File: f.Desc.Path()}, "rename the schema",
			"%s.pb.go is compiled for %s only, because of its name", f.GeneratedFilenamePrefix, strings.Join(words, " and "))
		if dotted {
			base = strings.ReplaceAll(base, ".", "_")
		}
	}
	if c.opts.PackageSuffix != "" {
		p.Name += protogen.GoPackageName(c.opts.PackageSuffix)
		p.Path = protogen.GoImportPath(string(p.Path) + "/" + string(p.Name))
		dir += string(p.Name) + "/"
	}
	p.FilePrefix = dir + base
	return p
}

// constraints are the words that the go command knows at the end of a file's name.
const constraints = `aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris
	wasip1 windows zos 386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32
	mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm`

// constraintsOf returns the systems and architectures at the end of a file's name.
func constraintsOf(name string) []string {
	known := strings.Fields(constraints)
	words := strings.Split(name, "_")
	n := len(words)
	for n > 1 && len(words)-n < 2 && slices.Contains(known, words[n-1]) {
		n--
	}
	return words[n:]
}

// fileNames reports files that the go command, and some disks, take for one.
func (c *checker) fileNames(model *Model) {
	first := make(map[string]*File, len(model.Files))
	for _, f := range model.Files {
		folded := strings.ToLower(f.Package.FilePrefix)
		other, ok := first[folded]
		if !ok {
			first[folded] = f
			continue
		}
		if other.Package.FilePrefix != f.Package.FilePrefix {
			c.report(Position{File: f.Proto.Desc.Path()}, "rename one of them",
				"the code of %s and of %s would be in files whose names differ by case only, which the go command refuses", f.Proto.Desc.Path(), other.Proto.Desc.Path())
		}
	}
}
