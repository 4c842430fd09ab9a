package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	ledgerv1 "github.com/sw4rm/sw4rm-go/examples/torture/proto/acme/ledger/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, name string) *book {
	t.Helper()
	b, err := openBook(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() }) // once more is no harm
	return b
}

// TestOnce books the same operation again after a restart: it is there once, and the answer is the same.
func TestOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "book")
	ctx := exchange.NewContext(t.Context(), exchange.Info{Token: "a:b:1"})
	req := &ledgerv1.DepositRequest{Account: ledgerv1.Account_ACCOUNT_ALICE, Cents: 5}
	b := open(t, name)
	l := &ledger{book: b}
	res, err := l.Deposit(ctx, req)
	require.NoError(t, err)
	require.EqualValues(t, 5, res.GetBalance())
	other := exchange.NewContext(t.Context(), exchange.Info{Token: "a:b:2"})
	require.NoError(t, l.Close(other, &ledgerv1.CloseRequest{Account: ledgerv1.Account_ACCOUNT_ALICE}))
	require.NoError(t, b.Close())
	// The process was killed while it wrote.
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("a:b:3 ACCOUNT_AL")
	require.NoError(t, err)
	require.NoError(t, f.Close())

	l = &ledger{book: open(t, name)}
	res, err = l.Deposit(ctx, req)
	require.NoError(t, err)
	require.EqualValues(t, 5, res.GetBalance(), "the balance after this deposit, not today's")
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "a:b:1 ACCOUNT_ALICE 5\na:b:2 ACCOUNT_ALICE -5\n", string(data))

	l.careless = true
	res, err = l.Deposit(ctx, req)
	require.NoError(t, err)
	require.EqualValues(t, 5, res.GetBalance())
	require.Len(t, l.book.byToken, 2)
	data, err = os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(data), "-5\na:b:1 ACCOUNT_ALICE 5\n")
}

func TestRefusals(t *testing.T) {
	l := &ledger{book: open(t, filepath.Join(t.TempDir(), "book"))}
	_, err := l.Deposit(t.Context(), &ledgerv1.DepositRequest{})
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError})
	bad := filepath.Join(t.TempDir(), "bad")
	require.NoError(t, os.WriteFile(bad, []byte("nonsense\n"), 0o600))
	_, err = openBook(bad)
	require.ErrorContains(t, err, bad)
	require.ErrorContains(t, err, `line "nonsense"`)
	_, err = openBook(t.TempDir())
	require.ErrorContains(t, err, "open the book")
}
