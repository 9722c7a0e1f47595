// go run . 4023457656
// A row of your own and an event, in one transaction. SHOP_DATABASE_URL leads to the engine's database.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// By SQLSTATE.
var whatToDo = map[string]string{
	"WH001": "correct the event",
	"WH002": "create the account, then send again",
	"WH003": "send again once an operator has resumed the account",
	"WH004": "use another key for another event",
}

// Accepted is what the engine says of an event that it has stored.
type Accepted struct {
	EventID    string `json:"event_id"`
	Deliveries int    `json:"deliveries"`
	Repeated   bool   `json:"repeated"`
}

func delivered(ctx context.Context, tx pgx.Tx, number string) (accepted Accepted, err error) {
	if _, err = tx.Exec(ctx, "INSERT INTO public.sms VALUES ($1, 'DELIVERED')", number); err != nil {
		return accepted, err
	}
	message, err := json.Marshal(map[string]string{"id": number})
	if err != nil {
		return accepted, err
	}
	err = tx.QueryRow(ctx,
		`SELECT event_id::text, deliveries, repeated FROM dispatcher.enqueue_v1(
			account => $1, event_type => $2, data => $3, subject => $4, idempotency_key => $5)`,
		"acme", "message.outbound.delivered", string(message), number, "sms-"+number+"-delivered",
	).Scan(&accepted.EventID, &accepted.Deliveries, &accepted.Repeated)
	return accepted, err
}

func run(ctx context.Context, numbers []string) error {
	connection, err := pgx.Connect(ctx, os.Getenv("SHOP_DATABASE_URL"))
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	for _, number := range numbers {
		var accepted Accepted
		err := pgx.BeginFunc(ctx, connection, func(tx pgx.Tx) (err error) {
			accepted, err = delivered(ctx, tx, number)
			return err
		})
		if err != nil {
			return err
		}
		line, err := json.Marshal(accepted)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			fmt.Fprintf(os.Stderr, "%s %s: %s\n", refused.Code, refused.Message, whatToDo[refused.Code])
		} else {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}
