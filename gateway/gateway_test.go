package gateway

import (
	"strings"
	"testing"
)

func TestConfigCORSOrigins(t *testing.T) {
	t.Parallel()
	for o, ok := range map[string]bool{
		"*": true, "": true, "null": true, "https://app.example.org": true, "http://localhost:3000": true, "http://localhost:*": true,
		"https://*.example.org": true, "http://[::1]:9000": true, "capacitor://localhost": true,
		"foo": false, "app.example.org": false, "https://": false, "https://app.example.org/": false, "https://app.example.org/path": false,
		"https://user@app.example.org": false, "https://a.org,https://b.org": false, "https://*.*.org": false, "https://a.org?x": false, "localhost:3000": false,
	} {
		c := DefaultConfig()
		c.CORSOrigins = []string{"https://first.example.org", o}
		if err := c.Validate(); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "SCHEME://HOST") {
			t.Errorf("%q: %v", o, err)
		}
	}
}
