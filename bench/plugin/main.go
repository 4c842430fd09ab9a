// Command plugin measures protoc-gen-sw4rm beside protoc-gen-go-grpc and protoc-gen-connect-go: each alone, with the
// request on its standard input, in turns, the median of the runs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

func main() {
	rounds := flag.Int("rounds", 10, "runs of each plugin on each corpus")
	seed := flag.Uint64("seed", 1, "seed of the corpus")
	request := flag.String("request", "", "only write the request for -corpus to this file")
	parameter := flag.String("parameter", "", "the request's parameter")
	sizes := flag.String("corpus", "", "files,services,rpcs,seed")
	response := flag.String("response", "", "only print the size of the response in this file")
	flag.Parse()
	if err := do(context.Background(), *request, *parameter, *sizes, *response, *rounds, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "bench-plugin:", err)
		os.Exit(1)
	}
}

func do(ctx context.Context, request, parameter, sizes, response string, rounds int, seed uint64) error {
	switch {
	case request != "":
		return writeRequest(ctx, request, parameter, sizes)
	case response != "":
		size, err := sizeOf(response)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(size)
	default:
		return compare(ctx, rounds, seed)
	}
}

func writeRequest(ctx context.Context, path, parameter, sizes string) error {
	c, err := parseCorpus(sizes)
	if err != nil {
		return err
	}
	data, err := c.request(ctx, parameter)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	return nil
}

func compare(ctx context.Context, rounds int, seed uint64) (err error) {
	dir, err := os.MkdirTemp("", "bench-plugin")
	if err != nil {
		return fmt.Errorf("make a folder for the plugins: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := bench{dir: dir, contenders: []contender{
		{name: "protoc-gen-sw4rm", binary: "github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm", parameter: "services=all"},
		{name: peer, binary: "google.golang.org/grpc/cmd/protoc-gen-go-grpc"},
		{name: "protoc-gen-connect-go", binary: "connectrpc.com/connect/cmd/protoc-gen-connect-go"},
	}}
	for i, p := range b.contenders {
		if b.contenders[i].binary, err = build(ctx, dir, p.name, p.binary); err != nil {
			return err
		}
	}
	big := corpus{files: 200, services: 5, rpcs: 10, seed: seed}
	for _, c := range []corpus{
		big,
		{files: 100, services: 5, rpcs: 10, seed: seed},
		{files: 50, services: 5, rpcs: 10, seed: seed},
		{files: 1, services: 1, rpcs: 3, seed: seed},
	} {
		results, err := b.measure(ctx, c, rounds)
		if err != nil {
			return err
		}
		b.table(c, results)
	}
	return b.lines(ctx, big)
}

// peer is what the others are compared with.
const peer = "protoc-gen-go-grpc"

// build compiles a plugin as its users would, and says how large it is.
func build(ctx context.Context, dir, name, pkg string) (string, error) {
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	fmt.Printf("%-22s %6.1f MiB\n", name, float64(info.Size())/(1<<20))
	return path, nil
}

func (b bench) table(c corpus, results []result) {
	base := results[slices.IndexFunc(b.contenders, func(p contender) bool { return p.name == peer })]
	fmt.Printf("\n%d RPCs: %d files of %d services of %d RPCs\n", c.total(), c.files, c.services, c.rpcs)
	fmt.Println("| plugin | time | x go-grpc | processor | memory | x go-grpc | output | µs/RPC |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- |")
	for i, r := range results {
		fmt.Printf("| %s | %.1f ms | %.2f | %.0f ms | %.1f MiB | %.2f | %.1f KiB | %.1f |\n", b.contenders[i].name,
			r.wall(), r.wall()/base.wall(), r.cpu(), r.peak(), r.peak()/base.peak(), float64(r.size.Bytes)/1024, 1000*r.wall()/float64(c.total()))
	}
}

// lines tells how many lines an RPC adds: the difference to a corpus with half the RPCs in each service.
func (b bench) lines(ctx context.Context, c corpus) error {
	half := c
	half.rpcs /= 2
	whole, err := b.measure(ctx, c, 1)
	if err != nil {
		return err
	}
	less, err := b.measure(ctx, half, 1)
	if err != nil {
		return err
	}
	fmt.Println("\nlines that an RPC adds")
	for i, p := range b.contenders {
		added := float64(whole[i].size.Lines-less[i].size.Lines) / float64(c.total()-half.total())
		fixed := (float64(whole[i].size.Lines) - added*float64(c.total())) / float64(c.files*c.services)
		fmt.Printf("%-22s %5.1f, and %.1f a service besides\n", p.name, added, fixed)
	}
	return nil
}
