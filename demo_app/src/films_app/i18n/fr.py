from films_app.i18n.en import TEXTS as TEXTS
