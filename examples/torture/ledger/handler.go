package main

import (
	"context"

	ledgerv1 "github.com/sw4rm/sw4rm-go/examples/torture/proto/acme/ledger/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// ledger implements ledgerv1.LedgerHandler.
type ledger struct {
	book *book
	// careless books without looking whether the operation was booked before.
	careless bool
}

// Deposit books an amount.
func (l *ledger) Deposit(ctx context.Context, req *ledgerv1.DepositRequest) (*ledgerv1.DepositResponse, error) {
	e, err := l.enter(ctx, req.GetAccount(), func(int64) int64 { return int64(req.GetCents()) })
	if err != nil {
		return nil, err
	}
	return &ledgerv1.DepositResponse{Balance: e.balance}, nil
}

// Close books the whole balance.
func (l *ledger) Close(ctx context.Context, req *ledgerv1.CloseRequest) error {
	_, err := l.enter(ctx, req.GetAccount(), func(balance int64) int64 { return -balance })
	return err
}

// enter books what cents makes of the account's balance. A handler runs again when its process died before the outcome was
// recorded; the token is then the same. Whoever looks for it finds the entry of the run before, and answers as that did.
func (l *ledger) enter(ctx context.Context, account ledgerv1.Account, cents func(balance int64) int64) (entry, error) {
	if account == ledgerv1.Account_ACCOUNT_UNSPECIFIED {
		return entry{}, ack.Rejectf(ack.ValidationError, "the account is not given")
	}
	info, _ := exchange.InfoFrom(ctx)
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	if e, ok := l.book.byToken[info.Token]; ok && !l.careless {
		return e, nil
	}
	return l.book.append(entry{token: info.Token, account: account, cents: cents(l.book.balances[account])})
}
