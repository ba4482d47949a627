package peer

import (
	"io"
	"testing"
)

// TestChange: while a secret is changed, a process that knows both reaches and
// is reached by those that know one of them, and nobody else.
func TestChange(t *testing.T) {
	t.Parallel()
	const third = "a third secret of more than 32 characters"
	old, next := secret(t, one), secret(t, two)
	processes := map[string]Secret{"old": old, "both": next.Accepting(old), "new": next, "stranger": secret(t, third),
		"stranger's change": secret(t, third).Accepting(secret(t, "a fourth secret of more than 32 characters"))}
	meets := map[string]bool{"old old": true, "old both": true, "both old": true, "both both": true, "both new": true, "new both": true, "new new": true,
		"stranger stranger": true, "stranger stranger's change": true, "stranger's change stranger": true, "stranger's change stranger's change": true}
	for server, s := range processes {
		creds, err := Derived(s, Tracker)
		if err != nil {
			t.Fatal(err)
		}
		addr := echo(t, creds, Control)
		for client, c := range processes {
			creds, err := Derived(c, Gateway)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := creds.Dial(t.Context(), addr, Tracker, Control)
			got := ""
			if err == nil {
				b, _ := io.ReadAll(conn)
				got = string(b)
				_ = conn.Close()
			}
			if want := meets[client+" "+server]; (got == string(Control)) != want || (err == nil) != want {
				t.Errorf("%s dials %s: %q, %v; want it answered: %v", client, server, got, err, want)
			}
			if conn, err := creds.Dial(t.Context(), addr, Storage, Control); err == nil {
				t.Errorf("%s took the tracker %s for a storage process", client, server)
				_ = conn.Close()
			}
		}
	}
}
