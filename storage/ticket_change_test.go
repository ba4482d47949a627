package storage

import (
	"testing"

	"holdfast/internal/peer"
)

// TestTicketWhileTheSecretChanges: tickets of either secret are taken, and made
// under the new one.
func TestTicketWhileTheSecretChanges(t *testing.T) {
	t.Parallel()
	secret := func(text string) peer.Secret {
		s, err := peer.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old, next := secret("one secret of more than 32 characters"), secret("another secret of more than 32 characters")
	third := secret("a third secret of more than 32 characters")
	ticket := func(s peer.Secret) *Ticket {
		k := &Ticket{Op: OpWrite, Expiry: 1}
		k.Sign(s.TicketKey())
		return k
	}
	for name, c := range map[string]struct {
		t    *Ticket
		by   peer.Secret
		want bool
	}{
		"old at both": {ticket(old), next.Accepting(old), true}, "new at both": {ticket(next), next.Accepting(old), true}, "both at new": {ticket(next.Accepting(old)), next, true},
		"old at new": {ticket(old), next, false}, "stranger at both": {ticket(third), next.Accepting(old), false},
	} {
		if got := c.t.Signed(c.by.TicketKeys()...); got != c.want {
			t.Errorf("ticket of %s: %v", name, got)
		}
	}
	if (&Ticket{}).Signed() {
		t.Error("a ticket is good where there is no key")
	}
}
