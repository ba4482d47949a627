package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/bench"
)

func benchCommand(hurry context.Context) *cobra.Command {
	o := bench.Options{}
	var sizes []string
	var asJSON bool
	var html string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Load an S3 endpoint and report throughput, latency and errors",
		Long: "Drives any S3 endpoint with PUT, GET, HEAD, LIST, DELETE or a mix of them.\n" +
			"Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else from\n" +
			"HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD (or their _FILE forms). What it wrote is\n" +
			"deleted at the end.",
		Example: "  holdfast bench --endpoint http://127.0.0.1:9000 --ops put,get --size 4KiB,10MiB --concurrency 16 --html bench.html",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := clientCredentials(os.LookupEnv, awsPair, rootPair)
			if err != nil {
				return err
			}
			o.AccessKey, o.SecretKey = c.User, c.Password
			for _, s := range sizes {
				n, err := parseBytes(s)
				if err != nil {
					return err
				}
				o.Sizes = append(o.Sizes, n)
			}
			if err := mayWrite(html); err != nil {
				return fmt.Errorf("--html: %w", err)
			}
			var line progressLine
			b, err := bench.New(cmd.Context(), o, line.show)
			if err != nil {
				return err
			}
			rep, err := b.Run(cmd.Context())
			line.end()
			if cmd.Context().Err() != nil {
				err = errors.New("interrupted; the report has the steps so far")
				fmt.Fprintln(os.Stderr, "interrupted: removing what was written; once more leaves it")
			}
			err = errors.Join(err, writeBench(cmd, rep, asJSON, html), b.Close(hurry))
			line.end()
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Endpoint, "endpoint", "http://127.0.0.1:9000", "endpoint, http(s)://HOST:PORT")
	f.StringVar(&o.Region, "region", "us-east-1", "region of the signature")
	f.StringVar(&o.Bucket, "bucket", "", "existing bucket to use; by default one is made and removed")
	f.StringSliceVar(&o.Ops, "ops", []string{"put", "get", "head", "list", "delete"}, "operations: put, get, head, list, delete, mixed")
	f.StringSliceVar(&sizes, "size", []string{"4KiB"}, "object sizes")
	f.IntSliceVar(&o.Concurrency, "concurrency", []int{16}, "clients at once")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "duration of each step; preparing its objects comes on top")
	f.IntVar(&o.Objects, "objects", 2000, "objects prepared for get, head, list, delete and mixed, at most (2 GiB in all)")
	f.BoolVar(&o.Insecure, "insecure", false, "accept any certificate")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.StringVar(&html, "html", "", "write a self-contained HTML report to this file")
	return cmd
}

// progressLine is a line on standard error that is written over and over. One
// goroutine at a time.
type progressLine struct{ written bool }

func (l *progressLine) end() {
	if l.written {
		fmt.Fprintln(os.Stderr)
	}
	l.written = false
}

func (l *progressLine) show(p bench.Progress) {
	l.written = true
	of := "s"
	if p.Total > 0 {
		of = fmt.Sprintf("/%.0fs", p.Total.Seconds())
	}
	fmt.Fprintf(os.Stderr, "\r%-28s %3.0f%s  %8.0f ops/s  %8.1f MiB/s  %d errors ", p.Step, p.Elapsed.Seconds(), of,
		float64(p.Ops)/p.Elapsed.Seconds(), float64(p.Bytes)/(1<<20)/p.Elapsed.Seconds(), p.Errors)
}

// mayWrite reports whether a file can be written, before the work for it is
// done. It leaves no new file; "" is no file.
func mayWrite(path string) error {
	if path == "" {
		return nil
	}
	_, missing := os.Stat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = f.Close()
	if errors.Is(missing, os.ErrNotExist) {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func writeBench(cmd *cobra.Command, rep *bench.Report, asJSON bool, html string) error {
	if html != "" {
		f, err := os.Create(html)
		if err != nil {
			return err
		}
		if err := errors.Join(rep.WriteHTML(f), f.Close()); err != nil {
			return err
		}
	}
	if asJSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(rep)
	}
	return rep.WriteTable(cmd.OutOrStdout())
}

// parseBytes reads 4096, 4KiB, 10MiB, 1GiB (or K, M, G; KB, MB and GB are decimal).
func parseBytes(s string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
		{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"B", 1}, {"", 1}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.factor {
			break
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf("%q is not a size; write 4096, 4KiB, 10MiB or 1GiB", s)
}
