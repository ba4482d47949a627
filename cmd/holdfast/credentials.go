package main

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast/cmd/allinone"
)

// credentials are root's access key and secret key.
type credentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// credentialsFile is kept in every data directory, readable only by its owner.
const credentialsFile = "holdfast.root"

// rootCredentials returns root's credentials: those of the environment, else
// those kept in a data directory, else new ones, which are then kept in all of
// them. created tells that they are new and must be shown once.
func rootCredentials(dirs []string, env func(string) (string, bool)) (c credentials, created bool, err error) {
	c.User, err = envOrFile("HOLDFAST_ROOT_USER", env)
	if err != nil {
		return c, false, err
	}
	c.Password, err = envOrFile("HOLDFAST_ROOT_PASSWORD", env)
	if err != nil {
		return c, false, err
	}
	switch {
	case c.User != "" && c.Password != "":
		return c, false, c.validate()
	case c.User != "" || c.Password != "":
		return c, false, errors.New("set both HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD (or their _FILE forms), or neither")
	}
	for _, d := range dirs {
		c, err := readCredentials(filepath.Join(d, credentialsFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return c, false, err
	}
	c, err = generateCredentials()
	return c, err == nil, err
}

// readCredentials reads a pair that was kept.
func readCredentials(path string) (c credentials, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if errors.Is(err, fs.ErrPermission) {
		return c, fmt.Errorf("root credentials: %w; %s; or set HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD", err, allinone.Ownership(filepath.Dir(path)))
	}
	if err != nil {
		return c, fmt.Errorf("root credentials: %w; make the file readable for this user, or set HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD", err)
	}
	if err := json.Unmarshal(data, &c); err != nil || c.validate() != nil {
		return credentials{}, fmt.Errorf("root credentials in %s are not readable; set HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD, or delete the file to have new ones made", path)
	}
	return c, nil
}

// keepCredentials writes c into every directory that has none.
func keepCredentials(dirs []string, c credentials) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	for _, d := range dirs {
		if err := keepOnce(filepath.Join(d, credentialsFile), data); err != nil {
			return fmt.Errorf("keeping root credentials: %w", err)
		}
	}
	return nil
}

// keepOnce creates path with data, synced, unless it exists.
func keepOnce(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func generateCredentials() (credentials, error) {
	var user, secret [30]byte
	if _, err := rand.Read(user[:]); err != nil {
		return credentials{}, err
	}
	if _, err := rand.Read(secret[:]); err != nil {
		return credentials{}, err
	}
	return credentials{
		User:     "HF" + base32.StdEncoding.EncodeToString(user[:])[:18],
		Password: password(secret[:]),
	}, nil
}

// password writes a secret so that no shell or client takes it for a flag: a
// dash comes first in one of 64.
func password(secret []byte) string {
	s := base64.RawURLEncoding.EncodeToString(secret)
	if s[0] == '-' {
		return "x" + s[1:]
	}
	return s
}

func (c credentials) validate() error {
	switch {
	case len(c.User) < 3 || len(c.User) > 128:
		return fmt.Errorf("HOLDFAST_ROOT_USER has %d characters; it takes 3 to 128", len(c.User))
	case len(c.Password) < 8:
		return fmt.Errorf("HOLDFAST_ROOT_PASSWORD has %d characters; it takes 8 or more", len(c.Password))
	case strings.ContainsAny(c.User, "/=, \t\r\n"):
		return errors.New("HOLDFAST_ROOT_USER may not contain slash, comma, equals sign or white space: they separate the parts of a credential")
	}
	return nil
}

// envOrFile reads NAME, or the file that NAME_FILE names.
func envOrFile(name string, env func(string) (string, bool)) (string, error) {
	if v, ok := env(name); ok && v != "" {
		return v, nil
	}
	path, ok := env(name + "_FILE")
	if !ok || path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// The environments that a command of ours takes credentials from.
var (
	awsPair  = [2]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
	rootPair = [2]string{"HOLDFAST_ROOT_USER", "HOLDFAST_ROOT_PASSWORD"}
)

// clientCredentials returns the first whole pair of the environment, each
// name also in its _FILE form.
func clientCredentials(env func(string) (string, bool), pairs ...[2]string) (c credentials, err error) {
	for _, names := range pairs {
		if c.User, err = envOrFile(names[0], env); err != nil {
			return c, err
		}
		if c.Password, err = envOrFile(names[1], env); err != nil {
			return c, err
		}
		if c.User != "" && c.Password != "" {
			return c, nil
		}
	}
	return c, fmt.Errorf("no credentials: set %s and %s (or their _FILE forms); a pair that holdfast server made is in %s in its data directories", rootPair[0], rootPair[1], credentialsFile)
}
