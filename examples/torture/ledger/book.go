package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	ledgerv1 "github.com/sw4rm/sw4rm-go/examples/torture/proto/acme/ledger/v1"
)

// entry is one line of the book: which operation has booked how much to which account.
type entry struct {
	token   string
	account ledgerv1.Account
	cents   int64
	// balance is the account's after the entry.
	balance int64
}

// book is a file of entries, one a line that begins with the operation's token. Nothing in it is ever changed.
type book struct {
	mu       sync.Mutex
	f        *os.File
	balances map[ledgerv1.Account]int64
	byToken  map[string]entry
}

// openBook reads the entries that are there. What a killed process has written of its last line is cut off: nobody was
// told of it.
func openBook(name string) (*book, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the book: %w", err)
	}
	b := &book{f: f, balances: map[ledgerv1.Account]int64{}, byToken: map[string]entry{}}
	if err := b.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the book %s: %w", name, err), f.Close())
	}
	return b, nil
}

func (b *book) load() error {
	data, err := io.ReadAll(b.f)
	if err != nil {
		return err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	if err := b.f.Truncate(int64(len(data))); err != nil {
		return err
	}
	if _, err := b.f.Seek(int64(len(data)), io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var e entry
		var account string
		if _, err := fmt.Sscan(lines.Text(), &e.token, &account, &e.cents); err != nil {
			return fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		e.account = ledgerv1.Account(ledgerv1.Account_value[account])
		b.note(e)
	}
	return lines.Err()
}

// note keeps an entry in memory and returns it with its balance.
func (b *book) note(e entry) entry {
	b.balances[e.account] += e.cents
	e.balance = b.balances[e.account]
	b.byToken[e.token] = e
	return e
}

// append writes an entry to the disk.
func (b *book) append(e entry) (entry, error) {
	if strings.ContainsAny(e.token, " \n") {
		return e, fmt.Errorf("the token %q does not fit on a line", e.token)
	}
	if _, err := fmt.Fprintf(b.f, "%s %s %d\n", e.token, e.account, e.cents); err != nil {
		return e, fmt.Errorf("write the book: %w", err)
	}
	if err := b.f.Sync(); err != nil {
		return e, fmt.Errorf("sync the book: %w", err)
	}
	return b.note(e), nil
}

// Close closes the file.
func (b *book) Close() error { return b.f.Close() }
