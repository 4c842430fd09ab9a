package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

// contender is a plugin to be measured.
type contender struct {
	name, binary, parameter string
}

// sample is what one run took.
type sample struct {
	wall, cpu time.Duration
	peak      int64 // bytes of memory
}

// output is the size of what a plugin writes.
type output struct{ Bytes, Lines, Files int }

// run gives the request in one file to a plugin on its standard input, and writes the response to another. The memory that
// the system reports for a process includes its parent's at the time it was started, so this one holds neither.
func run(ctx context.Context, binary, request, response string) (s sample, err error) {
	in, err := os.Open(request)
	if err != nil {
		return s, fmt.Errorf("read a request: %w", err)
	}
	defer in.Close()
	out, err := os.Create(response)
	if err != nil {
		return s, fmt.Errorf("write a response: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return s, fmt.Errorf("run %s: %w", binary, err)
	}
	s.wall = time.Since(began)
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return s, errors.New("this system does not tell what a process used")
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	s.peak = usage.Maxrss << 10
	return s, nil
}

// sizeOf reads the response in a file.
func sizeOf(path string) (o output, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return o, fmt.Errorf("read a response: %w", err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(data, &response); err != nil {
		return o, fmt.Errorf("decode a response: %w", err)
	}
	if response.Error != nil {
		return o, errors.New(response.GetError())
	}
	for _, f := range response.GetFile() {
		o.Files++
		o.Bytes += len(f.GetContent())
		o.Lines += strings.Count(f.GetContent(), "\n")
	}
	return o, nil
}

// result is what the runs of one plugin gave.
type result struct {
	samples []sample
	size    output
}

func (r result) median(of func(sample) float64) float64 {
	values := make([]float64, len(r.samples))
	for i, s := range r.samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (r result) wall() float64 {
	return r.median(func(s sample) float64 { return s.wall.Seconds() * 1000 })
}
func (r result) cpu() float64 {
	return r.median(func(s sample) float64 { return s.cpu.Seconds() * 1000 })
}
func (r result) peak() float64 {
	return r.median(func(s sample) float64 { return float64(s.peak) / (1 << 20) })
}

// bench measures plugins with the files in a folder.
type bench struct {
	dir        string
	contenders []contender
}

// measure lets the plugins take turns, so that all meet the same machine.
func (b bench) measure(ctx context.Context, c corpus, rounds int) ([]result, error) {
	requests := make([]string, len(b.contenders))
	for i, p := range b.contenders {
		requests[i] = filepath.Join(b.dir, fmt.Sprintf("request-%d", i))
		if err := b.apart(ctx, nil, "-request", requests[i], "-parameter", p.parameter, "-corpus", c.String()); err != nil {
			return nil, err
		}
	}
	response := filepath.Join(b.dir, "response")
	results := make([]result, len(b.contenders))
	for range rounds {
		for i, p := range b.contenders {
			s, err := run(ctx, p.binary, requests[i], response)
			if err != nil {
				return nil, err
			}
			results[i].samples = append(results[i].samples, s)
			if results[i].size == (output{}) {
				if err := b.apart(ctx, &results[i].size, "-response", response); err != nil {
					return nil, fmt.Errorf("%s: %w", p.name, err)
				}
			}
		}
	}
	return results, nil
}

// apart lets a process of its own do what takes memory.
func (b bench) apart(ctx context.Context, answer any, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%v: %w", args, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(out, answer)
}
