package samesidfiber_test

import (
	"context"
	"fmt"
	"log"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/frameworks/fiber"
)

func Example() {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		log.Fatal(err)
	}
	users, err := auth.New(sessions, auth.Passwords(findUser), auth.Options{})
	if err != nil {
		log.Fatal(err)
	}
	protected := func(c fiber.Ctx) error { return c.SendString("You are authorized") }

	app := fiber.New()
	app.Use(recover.New(), samesidfiber.Sessions(sessions))
	app.Get("/", func(c fiber.Ctx) error {
		n := sessions.GetInt(c, "visits") + 1
		sessions.Put(c, "visits", n)
		return c.SendString(fmt.Sprint("visit ", n))
	})

	app.Post("/login", samesidfiber.Handler(users.Login()))
	app.Post("/logout", samesidfiber.Handler(users.Logout()))
	app.Get("/protected", samesidfiber.Wrap(users.Restricted), protected)
	// Output:
}

// findUser is in place of a database.
func findUser(context.Context, string) (user, hash string, err error) { return "", "", auth.ErrInvalid }
