"""eosmodel"""
