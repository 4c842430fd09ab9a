package exchange_test

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// deposit stands for an exchange of generated code.
var deposit = exchange.NewCall[wrapperspb.Int64Value, wrapperspb.Int64Value]("acme.bank.v1.Account/Deposit")

// handleDeposit adds to a balance, once for each message, however often it runs.
func handleDeposit(ctx context.Context, amount *wrapperspb.Int64Value) (*wrapperspb.Int64Value, error) {
	tx := exchange.TxFrom(ctx)
	text, err := tx.Get("balance")
	if err != nil {
		return nil, err
	}
	balance, _ := strconv.ParseInt(string(text), 10, 64)
	balance += amount.GetValue()
	if err := tx.Set("balance", strconv.AppendInt(nil, balance, 10)); err != nil {
		return nil, err
	}
	return wrapperspb.Int64(balance), nil // the balance and this reply are stored in one step
}

func ExampleTxFrom() {
	t := new(testing.T) // in a test, the test's own
	fake := agenttest.NewFake(t)
	deposit.Handle(fake, handleDeposit)
	ctx, client := context.Background(), exchange.NewClient(fake, address.Agent("bank-1"))
	for _, amount := range []int64{5, 7} {
		balance, err := deposit.Call(ctx, client, wrapperspb.Int64(amount))
		fmt.Println(balance.GetValue(), err)
	}
	err := fake.Data(ctx, func(tx *exchange.Tx) error {
		for e, err := range tx.Scan("") {
			if err != nil {
				return err
			}
			fmt.Printf("%s is %s\n", e.Key, e.Value)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// 5 <nil>
	// 12 <nil>
	// balance is 12
	// <nil>
}

// A handler whose data lies in an SQL database notes the message's token with its reply in the transaction that changes the
// data, and looks there first: a run that comes after it gets the reply that was noted. The table is
//
//	CREATE TABLE handled (token TEXT PRIMARY KEY, reply BYTEA NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now())
func ExampleInfo() {
	var db *sql.DB // the program's own
	deposit.Handle(nil, func(ctx context.Context, amount *wrapperspb.Int64Value) (*wrapperspb.Int64Value, error) {
		info, _ := exchange.InfoFrom(ctx)
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		defer func() { _ = tx.Rollback() }() // does nothing once it is committed
		// The key is taken first, so that another run waits here for the end of this one.
		res, err := tx.ExecContext(ctx, `INSERT INTO handled (token, reply) VALUES ($1, '') ON CONFLICT DO NOTHING`, info.Token)
		if err != nil {
			return nil, err
		}
		reply := new(wrapperspb.Int64Value)
		if n, err := res.RowsAffected(); err != nil {
			return nil, err
		} else if n == 0 {
			var noted []byte
			if err := tx.QueryRowContext(ctx, `SELECT reply FROM handled WHERE token = $1`, info.Token).Scan(&noted); err != nil {
				return nil, err
			}
			return reply, proto.Unmarshal(noted, reply)
		}
		err = tx.QueryRowContext(ctx, `UPDATE account SET balance = balance + $1 RETURNING balance`, amount.GetValue()).Scan(&reply.Value)
		if err != nil {
			return nil, err
		}
		noted, err := proto.Marshal(reply)
		if err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE handled SET reply = $2 WHERE token = $1`, info.Token, noted); err != nil {
			return nil, err
		}
		return reply, tx.Commit()
	})
}
