package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// AddressError says why a service cannot listen at an address.
type AddressError struct {
	// Addr is the address as it was given.
	Addr string
	// Problem and Fix say what is wrong and what to do.
	Problem, Fix string
	// Err is the cause, nil where the address itself is wrong.
	Err error
}

// Error implements error.
func (e *AddressError) Error() string {
	return fmt.Sprintf("address %s %s. Fix: %s", e.Addr, e.Problem, e.Fix)
}

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.Err }

// Listen listens for connections from this machine at HOST:PORT; port 0 takes a free one. Every address that HOST stands
// for must be a loopback address: there is no authentication, so nobody else may connect. A scheme http:// before the
// address is ignored. flag is the command-line flag by which the user gave the address, for the remedy in errors, all of
// which are an *AddressError unless ctx ends.
func Listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	local := fmt.Sprintf("use %s localhost:0 for a free port", flag)
	host, port, err := split(addr)
	if err != nil {
		return nil, &AddressError{Addr: strconv.Quote(addr), Problem: "is not HOST:PORT", Fix: "write it as localhost:50051, or " + local, Err: err}
	}
	ip, err := loopback(ctx, host)
	if err != nil {
		return nil, describe(ctx, addr, flag, err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(ip.String(), port))
	switch {
	case err == nil:
		return l, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &AddressError{Addr: addr, Problem: "is in use", Fix: "stop the process that listens there, or " + local, Err: err}
	default:
		return nil, &AddressError{Addr: addr, Problem: "cannot be listened at: " + err.Error(), Fix: local, Err: err}
	}
}

// split reads HOST:PORT, with or without http:// and a closing slash.
func split(addr string) (host, port string, err error) {
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
	host, port, err = net.SplitHostPort(addr)
	if err != nil {
		return "", "", err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return host, port, nil
}

var errNotLoopback = errors.New("not a loopback address")

// loopback returns the loopback address that host stands for, an IPv4 one where there are several.
func loopback(ctx context.Context, host string) (net.IP, error) {
	if host == "" {
		return nil, errNotLoopback
	}
	if ip := net.ParseIP(host); ip != nil {
		if !ip.IsLoopback() {
			return nil, errNotLoopback
		}
		return ip, nil
	}
	// The name localhost is the loopback address by definition (RFC 6761), whatever a resolver says.
	if strings.EqualFold(host, "localhost") {
		return net.IPv4(127, 0, 0, 1), nil
	}
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	var chosen net.IP
	for _, a := range addrs {
		if !a.IP.IsLoopback() {
			return nil, errNotLoopback
		}
		if chosen == nil || chosen.To4() == nil && a.IP.To4() != nil {
			chosen = a.IP
		}
	}
	if chosen == nil {
		return nil, fmt.Errorf("host %s has no address", host)
	}
	return chosen, nil
}

func describe(ctx context.Context, addr, flag string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errNotLoopback) {
		return &AddressError{
			Addr:    addr,
			Problem: "is not a loopback address: other machines could connect, and the services have no authentication",
			Fix:     fmt.Sprintf("use %s localhost:PORT or 127.0.0.1:PORT", flag),
			Err:     err,
		}
	}
	return &AddressError{Addr: addr, Problem: "cannot be resolved: " + err.Error(), Fix: fmt.Sprintf("use %s localhost:PORT", flag), Err: err}
}
